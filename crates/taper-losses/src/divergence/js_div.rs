//! The Jensen-Shannon divergence of distributions over classes.

use candle_core::Tensor;
use taper_core::Result;

use super::Distribution;
use super::distribution::{Pair, Rows};
use crate::LossOptions;
use crate::classes::expected;

const NAME: &str = "js_div";

/// The options of [`js_div`].
#[derive(Debug, Clone, Default)]
pub struct JsDivOptions {
    /// The axis that holds the classes; `None` is 1, or 0 for a single sample (C).
    pub class_axis: Option<usize>,
    /// What every loss has; the elements are the samples.
    pub loss: LossOptions,
}

/// The Jensen-Shannon divergence of distributions over classes: how far two are, on average, from their mean.
///
/// # Equation
/// lᵢ = D(pᵢ ‖ mᵢ) / 2 + D(qᵢ ‖ mᵢ) / 2, m = (p + q) / 2, D(a ‖ b) = Σ_c a_c (log a_c − log b_c)
///
/// with the probabilities pᵢ of the first and qᵢ of the second argument of sample i, and 0 · log 0 = 0; reduced as
/// [`Reduction`](crate::Reduction) says. It is symmetric, from 0 to log 2, and the square of a distance.
///
/// # Shapes
/// First and second (N, C, ...) of the same shape, or (C) for a single sample; the class axis C may be any. The value
/// is (), in nats, or (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Each argument is a [`Distribution`], which says whether its numbers are probabilities, their logarithms or logits.
/// Of [`JsDivOptions`]:
/// - `class_axis`: none, which is 1, or 0 for (C).
/// - `loss`: [`LossOptions`]; its mean is that over the samples.
///
/// # Numerics
/// Both arguments have a gradient, log(p / m) / 2 by a probability; detach one that is a target. Logits of ±1e4 are
/// finite. A class that only one of the distributions has adds its probability times log 2 / 2, where a
/// Kullback-Leibler divergence would be infinite; a probability of 0 itself, given as such, has the gradient 0, as
/// the true one is not finite. Where both distributions are almost the same the terms cancel, and a rounding error
/// below 0 may be left. f64 stays f64; f32, bf16 and f16 are computed and returned in f32. Probabilities are checked
/// on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From the paper: its logarithms are of base 2, its divergence from 0 to 1.
/// 2. From SciPy: `jensenshannon` is the distance, the square root of this; it makes its arguments sum to 1, which is
///    not done here.
///
/// # Errors
/// First and second of different shapes or dtypes or not floating-point, or without classes; the first probability
/// outside 0 to 1, with its position; weights and a mask that do not fit, a weight that is negative or not finite;
/// nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Lin 1991, Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37(1),
///   <https://doi.org/10.1109/18.61115>.
/// - Endres and Schindelin 2003, A new metric for probability distributions, IEEE Transactions on Information Theory
///   49(7), <https://doi.org/10.1109/TIT.2003.813506>.
/// - `scipy.spatial.distance.jensenshannon`,
///   <https://docs.scipy.org/doc/scipy/reference/generated/scipy.spatial.distance.jensenshannon.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{Distribution, JsDivOptions, js_div};
///
/// // Certainty against even odds, whose mean is 3 : 1.
/// let first = Tensor::new(&[[1.0, 0.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[[7.0, 7.0]], &Device::Cpu)?;
/// let (first, second) = (Distribution::Probabilities(&first), Distribution::Logits(&second));
/// let value = js_div(first, second, &JsDivOptions::default())?.to_scalar::<f64>()?;
/// let of_first = (4.0f64 / 3.0).ln();
/// let of_second = 0.5 * (2.0f64 / 3.0).ln() + 0.5 * 2f64.ln();
/// assert!((value - (of_first + of_second) / 2.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn js_div(
    first: Distribution<'_>,
    second: Distribution<'_>,
    options: &JsDivOptions,
) -> Result<Tensor> {
    let arguments = (("first", first), ("second", second));
    let pair = Pair::new(NAME, arguments.0, arguments.1, options.class_axis, &options.loss)?;
    let [first, second] = pair.rows()?;
    let log_mean = ((first.p.detach() + second.p.detach())? / 2.0)?.log()?;
    // The derivative by p is log(p / m) / 2: the rest of it, 1 - (p + q) / (2 m), is nothing.
    let from_mean = |rows: &Rows| expected(&(rows.log_p.detach() - &log_mean)?, &rows.p);
    let divergences = ((from_mean(&first)? + from_mean(&second)?)? / 2.0)?;
    pair.reduce(&divergences)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers_of_what_has_nothing_in_common() -> Result<()> {
        let first = Tensor::new(&[[0.5, 0.5, 0.0, 0.0]], &Device::Cpu)?;
        let second = Tensor::new(&[[0.0, 0.0, 1.0, 0.0]], &Device::Cpu)?;
        let of = |first, second| {
            let pair = (Distribution::Probabilities(first), Distribution::Probabilities(second));
            Ok::<_, taper_core::Error>(
                js_div(pair.0, pair.1, &JsDivOptions::default())?.to_scalar::<f64>()?,
            )
        };
        assert_eq!(of(&first, &second)?, 2f64.ln());
        assert_eq!(of(&first, &first)?, 0.0);
        Ok(())
    }
}
