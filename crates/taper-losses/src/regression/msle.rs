//! The mean squared logarithmic error.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elements::Elements;
use crate::elementwise::{Elementwise, elementwise};

/// The mean squared logarithmic error: what counts is by which factor an input is off, for counts and amounts.
///
/// # Equation
/// lᵢ = (log(1 + xᵢ) − log(1 + yᵢ))²
///
/// with the input x and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, without a unit, above −1; the value (), or
/// (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// The logarithms are log1p in f64 for every dtype, which keeps the precision of small numbers. The derivative
/// 2 (log(1 + x) − log(1 + y)) / (1 + x) grows without bound as the input nears −1. f64 stays f64; f32, bf16 and f16
/// are returned in f32.
///
/// # Deviations
/// 1. From Keras: what is below 1e-7 counts as it is; Keras takes it to be 1e-7, without a gradient.
/// 2. From scikit-learn, which refuses −1 and below as this does: the target is the second argument.
///
/// # Errors
/// An element of input or target that is not above −1; input and target of different shapes or dtypes or not
/// floating-point; weights and a mask that do not fit, a weight that is negative or not finite; nothing to average,
/// unless `empty` says otherwise.
///
/// # References
/// - Tofallis 2015, A better measure of relative prediction accuracy for model selection and model estimation, Journal
///   of the Operational Research Society 66(8), <https://doi.org/10.1057/jors.2014.103> (the squared logarithm of the
///   ratio).
/// - `keras.losses.mean_squared_logarithmic_error`, <https://keras.io/api/losses/regression_losses/>, and
///   `sklearn.metrics.mean_squared_log_error`,
///   <https://scikit-learn.org/stable/modules/generated/sklearn.metrics.mean_squared_log_error.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, msle};
///
/// // 1 + x is twice what it should be, and right.
/// let input = Tensor::new(&[9.0, 3.0], &Device::Cpu)?;
/// let target = Tensor::new(&[4.0, 3.0], &Device::Cpu)?;
/// let loss = msle(&input, &target, &LossOptions::default())?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln().powi(2) / 2.0).abs() < 1e-15);
/// # Ok(())
/// # }
/// ```
pub fn msle(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(SquaredLogarithmic, "input", input, target, options)
}

struct SquaredLogarithmic;

impl Elementwise for SquaredLogarithmic {
    const NAME: &'static str = "msle";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, y| {
            let d = x.ln_1p() - y.ln_1p();
            (d * d, 2.0 * d / (1.0 + x))
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        Ok(((x + 1.0)?.log()? - (target + 1.0)?.log()?)?.sqr()?)
    }

    fn check(&self, x: &Tensor, target: &Tensor, elements: &Elements) -> Result<()> {
        elements.expect("input", x, "above -1", |x| x > -1.0)?;
        elements.expect("target", target, "above -1", |y| y > -1.0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::random;
    use crate::elementwise::Against;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            let shape = (random.rows, random.columns);
            let positive = |name| random.normal(name, shape).abs().unwrap();
            let against = || Against { loss: SquaredLogarithmic, target: positive("target") };
            random.twins_agree(&positive("x"), shape, against);
        }
    }

    #[test]
    fn keeps_its_precision_near_zero() -> Result<()> {
        let input = Tensor::new(&[1e-12], &Device::Cpu)?;
        let loss = msle(&input, &input.zeros_like()?, &LossOptions::default())?;
        assert!((loss.to_scalar::<f64>()? / 1e-24 - 1.0).abs() < 1e-11);
        Ok(())
    }
}
