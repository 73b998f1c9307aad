//! The L1 penalty of weights.

use candle_core::Tensor;
use taper_core::Result;

use super::penalty::{Term, summed};

/// The L1 penalty of weights: the sum of their magnitudes, which drives some of them to 0.
///
/// # Equation
/// P = Σ |w|
///
/// over every element w of every tensor.
///
/// # Shapes
/// Tensors of any shapes, in any unit; the value () in that unit.
///
/// # Parameters
/// None. The penalty's weight λ is that of its part in a [`WeightedSum`](crate::WeightedSum). Which tensors are
/// penalised is the caller's choice; biases and what scales and shifts in a norm usually are not.
///
/// # Numerics
/// The derivative is the sign of w, and 0 where w is 0. On a CPU short runs of a tensor's elements are summed in the
/// dtype of the computation and their sums in f64, so that none of many small weights is lost. f64 stays f64; f32, bf16
/// and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From Keras: the penalty of several tensors is one number, and does not contain its weight λ.
///
/// # Errors
/// No tensors; a tensor that is not floating-point, or f64 beside others, or on another device.
///
/// # References
/// - Tibshirani 1996, Regression shrinkage and selection via the lasso, JRSS B 58(1).
/// - `keras.regularizers.L1`, <https://keras.io/api/layers/regularizers/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::l1_penalty;
///
/// let first = Tensor::new(&[[1.0, -2.0], [0.0, 4.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[-0.5], &Device::Cpu)?;
/// assert_eq!(l1_penalty([&first, &second])?.to_scalar::<f64>()?, 1.0 + 2.0 + 0.0 + 4.0 + 0.5);
/// # Ok(())
/// # }
/// ```
///
/// Of a model's weights, but not of its biases:
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device};
/// use taper_core::{LinearConfig, Parameters, linear, stream};
/// use taper_losses::l1_penalty;
///
/// let parameters = Parameters::new(&stream(7, "init"));
/// linear(3, 2, LinearConfig::default(), parameters.builder(DType::F32, &Device::Cpu).pp("fc"))?;
/// let trainable = parameters.trainable();
/// let weights = trainable.iter().filter(|(name, _)| name.ends_with("weight"));
/// let penalty = l1_penalty(weights.map(|(_, weight)| weight.as_tensor()))?;
/// # assert!(penalty.to_scalar::<f32>()? > 0.0);
/// # Ok(())
/// # }
/// ```
pub fn l1_penalty<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Tensor> {
    summed(Magnitude, tensors)
}

#[derive(Clone)]
struct Magnitude;

impl Term for Magnitude {
    const NAME: &'static str = "l1_penalty";

    fn rule(&self, x: f64) -> (f64, f64) {
        (x.abs(), if x == 0.0 { 0.0 } else { x.signum() })
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        // The derivative of candle's own is 1 at 0.
        Ok((x * x.detach().sign()?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::super::penalty::tests::twins_agree;
    use super::*;
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            let x = random.normal("x", (random.rows, random.columns));
            twins_agree(&random, &x, Magnitude);
        }
    }

    #[test]
    fn nothing_pulls_at_0() -> Result<()> {
        let x = Var::new(&[0.0, -0.0, 2.0, -3.0], &Device::Cpu)?;
        for value in [l1_penalty([x.as_tensor()])?, Magnitude.composed(&x)?.sum_all()?] {
            assert_eq!(value.to_scalar::<f64>()?, 5.0);
            let gradient = value.backward()?.get(&x).map(Tensor::to_vec1::<f64>).transpose()?;
            assert_eq!(gradient, Some(vec![0.0, 0.0, 1.0, -1.0]));
        }
        Ok(())
    }
}
