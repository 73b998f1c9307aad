//! The negative log-likelihood of a Poisson distribution.

use std::f64::consts::TAU;

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The options of [`poisson_nll`].
#[derive(Debug, Clone)]
pub struct PoissonNllOptions {
    /// Whether the input is the logarithm of the rate, rather than the rate.
    pub log_input: bool,
    /// Whether Stirling's approximation of log y! is added, which has no gradient.
    pub full: bool,
    /// What is added to a rate before its logarithm is taken: ε, at least 0. Of no use with `log_input`.
    pub eps: f64,
    /// What every loss has.
    pub loss: LossOptions,
}

impl Default for PoissonNllOptions {
    fn default() -> Self {
        Self { log_input: true, full: false, eps: 1e-8, loss: LossOptions::default() }
    }
}

/// The negative log-likelihood of counts under a Poisson distribution.
///
/// # Equation
/// lᵢ = exp(xᵢ) − yᵢ xᵢ for the logarithm x of the rate, or xᵢ − yᵢ log(xᵢ + ε) for the rate x itself
///
/// and the target y, with 0 · ∞ = 0; with `full` plus Stirling's log yᵢ! ≈ yᵢ log yᵢ − yᵢ + log(2π yᵢ) / 2 where
/// yᵢ > 1; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes; the target in counts, the input in their
/// expected number or its logarithm; the value (), in nats, or (...) with
/// [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`PoissonNllOptions`]:
/// - `log_input`: true. The logarithm of the rate can be any number, so it is what a network should give.
/// - `full`: false. Without it the loss lacks what does not depend on the input, and may be negative.
/// - `eps`: 1e-8; at least 0 and finite. Only where `log_input` is false.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// Computed in f64 for every dtype. exp(x) overflows above 709, in an f32 result above 88: value and gradient are
/// infinite there, as the equation is. A rate of 0 with ε = 0 is right for a target of 0, and infinitely wrong for
/// another. Targets need not be whole numbers. f64 stays f64; f32, bf16 and f16 are returned in f32.
///
/// # Deviations
/// 1. From PyTorch: 0 · ∞ is 0, not NaN.
/// 2. From PyTorch: a negative target, or a negative rate, is an error.
/// 3. From PyTorch: ε is added in f64; in f32 it vanishes beside a rate above 0.2.
/// 4. From PyTorch: another shape is an error, not a broadcast, and there are weights and a mask.
/// 5. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
/// 6. From Keras: its `poisson` is the one of rates, with ε = 1e-7.
///
/// # Errors
/// A target that is not at least 0, or a rate that is not; input and target of different shapes or dtypes or not
/// floating-point; an ε that is negative or not finite; weights and a mask that do not fit, a weight that is negative
/// or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Nelder and Wedderburn 1972, Generalized linear models, Journal of the Royal Statistical Society A 135(3),
///   <https://doi.org/10.2307/2344614>.
/// - `torch.nn.PoissonNLLLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.PoissonNLLLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{PoissonNllOptions, poisson_nll};
///
/// // Rates of 1 and 2, of which 0 and 3 came.
/// let log_rate = Tensor::new(&[0.0, 2f64.ln()], &Device::Cpu)?;
/// let target = Tensor::new(&[0.0, 3.0], &Device::Cpu)?;
/// let loss = poisson_nll(&log_rate, &target, &PoissonNllOptions::default())?;
/// assert!((loss.to_scalar::<f64>()? - (1.0 + 2.0 - 3.0 * 2f64.ln()) / 2.0).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub fn poisson_nll(input: &Tensor, target: &Tensor, options: &PoissonNllOptions) -> Result<Tensor> {
    let PoissonNllOptions { log_input, full, eps, .. } = *options;
    if !(eps >= 0.0 && eps.is_finite()) {
        return Err(Error::argument(PoissonNll::NAME, "eps", "at least 0 and finite", eps));
    }
    elementwise(PoissonNll { log_input, full, eps }, "input", input, target, &options.loss)
}

struct PoissonNll {
    log_input: bool,
    full: bool,
    eps: f64,
}

impl Elementwise for PoissonNll {
    const NAME: &'static str = "poisson_nll";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        let Self { log_input, full, eps } = *self;
        Ok(pointwise_by(x, target, wanted, |x, y| {
            let (rate, slope) = if log_input { (x.exp(), x.exp()) } else { (x, 1.0) };
            let (log, of_log) =
                if log_input { (x, 1.0) } else { ((x + eps).ln(), 1.0 / (x + eps)) };
            let stirling =
                if full && y > 1.0 { y * y.ln() - y + 0.5 * (TAU * y).ln() } else { 0.0 };
            if y == 0.0 {
                return (rate, slope);
            }
            (rate - y * log + stirling, slope - y * of_log)
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let ones = x.ones_like()?;
        let none = target.eq(0.0)?;
        // Chosen before the logarithm, of which the derivative at 0 is infinite.
        let (rate, log) = if self.log_input {
            (x.exp()?, none.where_cond(&ones, x)?)
        } else {
            (x.clone(), none.where_cond(&ones, &(x + self.eps)?)?.log()?)
        };
        let losses = (rate - (target * log)?)?;
        if !self.full {
            return Ok(losses);
        }
        let many = target.gt(1.0)?;
        let y = many.where_cond(target, &ones)?;
        let stirling = (((&y * y.log()?)? - &y)? + ((&y * TAU)?.log()? * 0.5)?)?;
        Ok((losses + many.where_cond(&stirling, &x.zeros_like()?)?)?)
    }

    fn check(&self, x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        if !self.log_input {
            let expected = "at least 0 (`log_input` takes its logarithm)";
            elements.expect("input", x, expected, |x| x >= 0.0)?;
        }
        elements.expect("target", target, "at least 0", |y| y >= 0.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::Reduction;
    use crate::elements::tests::random;
    use crate::elementwise::Against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), log_input: bool, full: bool) {
            let shape = (random.rows, random.columns);
            let positive = |name| random.normal(name, shape).abs().unwrap();
            // Half of the targets are 0.
            let target = random.normal("target", shape).relu().unwrap();
            let x = if log_input { random.normal("x", shape) } else { (positive("x") + 0.1).unwrap() };
            let loss = || PoissonNll { log_input, full, eps: 1e-3 };
            random.twins_agree(&x, shape, || Against { loss: loss(), target: target.clone() });
        }
    }

    #[test]
    fn a_rate_of_zero_is_right_for_nothing() -> Result<()> {
        let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
        let options = PoissonNllOptions { log_input: false, eps: 0.0, full: true, loss };
        let rate = Var::new(&[0.0, 0.0, 1.0], &Device::Cpu)?;
        let target = Tensor::new(&[0.0, 1.0, 2.0], &Device::Cpu)?;
        let losses = poisson_nll(&rate, &target, &options)?;
        let stirling = 2.0 * 2f64.ln() - 2.0 + (2.0 * TAU).ln() / 2.0;
        assert_eq!(losses.to_vec1::<f64>()?, [0.0, f64::INFINITY, 1.0 + stirling]);
        let gradient = losses.sum_all()?.backward()?.remove(&rate).unwrap();
        assert_eq!(gradient.to_vec1::<f64>()?, [1.0, f64::NEG_INFINITY, -1.0]);
        Ok(())
    }
}
