//! The log-cosh loss.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::Scalar;
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::LossOptions;
use crate::elementwise::{Elementwise, elementwise};

/// The logarithm of the hyperbolic cosine of the error: nearly d² / 2 for small errors and |d| − log 2 for large ones,
/// smooth in between.
///
/// # Equation
/// lᵢ = log cosh(xᵢ − yᵢ)
///
/// with the input x and the target y; reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (...), of the same shape with any number of axes, without a unit; the value (), or (...)
/// with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; `sample_weights` (N) for an input (N, D) weigh its rows.
///
/// # Numerics
/// log cosh d is log1p(2 sinh²(d / 2)) below 1, which keeps its relative precision near 0, and
/// |d| + log1p(exp(−2 |d|)) − log 2 above, which does not overflow; computed in f64 for every dtype. The derivative is
/// tanh d. f64 stays f64; f32, bf16 and f16 are returned in f32.
///
/// # Deviations
/// 1. From Keras: another shape is an error, not a broadcast; its mean is over the last axis, then over the rest, which
///    without weights is the same.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point; weights and a mask that do not
/// fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Green 1990, Bayesian reconstructions from emission tomography data using a modified EM algorithm (log cosh as a
///   penalty), IEEE Transactions on Medical Imaging 9(1).
/// - `keras.losses.log_cosh`, <https://keras.io/api/losses/regression_losses/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, log_cosh};
///
/// let input = Tensor::new(&[0.0, 2.0], &Device::Cpu)?;
/// let loss = log_cosh(&input, &input.zeros_like()?, &LossOptions::default())?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.cosh().ln() / 2.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn log_cosh(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    elementwise(LogCosh, "input", input, target, options)
}

struct LogCosh;

impl Elementwise for LogCosh {
    const NAME: &'static str = "log_cosh";

    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64> {
        Ok(pointwise_by(x, target, wanted, |x, y| {
            let d = x - y;
            let loss = if d.abs() < 1.0 {
                (2.0 * (d / 2.0).sinh().powi(2)).ln_1p()
            } else {
                d.abs() + ((-2.0 * d.abs()).exp().ln_1p() - std::f64::consts::LN_2)
            };
            (loss, d.tanh())
        }))
    }

    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor> {
        let d = (x - target)?;
        let magnitude = super::mae::magnitude(&d)?;
        let tail = ((&magnitude * -2.0)?.exp()? + 1.0)?.log()?;
        Ok(((magnitude + tail)? - std::f64::consts::LN_2)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::random;
    use crate::elementwise::tests::twins_agree;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            twins_agree(&random, || LogCosh);
        }
    }

    #[test]
    fn keeps_its_precision_near_the_target() -> Result<()> {
        let input = Tensor::new(&[1e-9], &Device::Cpu)?;
        let loss = log_cosh(&input, &input.zeros_like()?, &LossOptions::default())?;
        assert!((loss.to_scalar::<f64>()? / 5e-19 - 1.0).abs() < 1e-15);
        Ok(())
    }
}
