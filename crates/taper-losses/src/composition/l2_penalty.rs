//! The L2 penalty of weights.

use candle_core::Tensor;
use taper_core::Result;

use super::penalty::{Term, summed};

/// The L2 penalty of weights: half the sum of their squares, which keeps them small.
///
/// # Equation
/// P = ½ Σ w²
///
/// over every element w of every tensor. Its gradient is w: a loss L + λ P has the gradient that `weight_decay` = λ
/// gives to the loss L in `torch.optim.SGD`.
///
/// # Shapes
/// Tensors of any shapes, in any unit; the value () in the unit's square.
///
/// # Parameters
/// None. The penalty's weight λ is that of its part in a [`WeightedSum`](crate::WeightedSum). Which tensors are
/// penalised is the caller's choice; biases and what scales and shifts in a norm usually are not.
///
/// # Numerics
/// On a CPU short runs of a tensor's squares are summed in the dtype of the computation and their sums in f64, so that
/// none of many small weights is lost. In f32 the square of a weight above some 2e19 is infinite. f64 stays f64; f32,
/// bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From Keras: half of its sum of squares, and so half of its gradient. The penalty of several tensors is one
///    number, and does not contain its weight λ.
/// 2. From the weight decay of `torch.optim.AdamW`: an adaptive optimizer scales the penalty's gradient as that of the
///    loss; decay that is decoupled is no gradient.
///
/// # Errors
/// No tensors; a tensor that is not floating-point, or f64 beside others, or on another device.
///
/// # References
/// - Krogh and Hertz 1991, A simple weight decay can improve generalization (λ / 2 Σ w²), NIPS 4,
///   <https://proceedings.neurips.cc/paper/1991/hash/8eefcfdf5990e441f0fb6f3fad709e21-Abstract.html>.
/// - `torch.optim.SGD`, <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>.
/// - `keras.regularizers.L2`, <https://keras.io/api/layers/regularizers/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::l2_penalty;
///
/// let first = Tensor::new(&[[1.0, -2.0], [0.0, 4.0]], &Device::Cpu)?;
/// let second = Tensor::new(&[-3.0], &Device::Cpu)?;
/// let squares = 1.0 + 4.0 + 0.0 + 16.0 + 9.0;
/// assert_eq!(l2_penalty([&first, &second])?.to_scalar::<f64>()?, squares / 2.0);
/// # Ok(())
/// # }
/// ```
pub fn l2_penalty<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Tensor> {
    summed(HalfSquare, tensors)
}

#[derive(Clone)]
struct HalfSquare;

impl Term for HalfSquare {
    const NAME: &'static str = "l2_penalty";

    fn rule(&self, x: f64) -> (f64, f64) {
        (x * x / 2.0, x)
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        Ok((x.sqr()? / 2.0)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::penalty::tests::twins_agree;
    use super::*;
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(random in random()) {
            let x = random.normal("x", (random.rows, random.columns));
            twins_agree(&random, &x, HalfSquare);
        }
    }
}
