//! The contractive penalty of an encoder.

use candle_core::{D, Tensor};
use taper_core::{Activation, Error, Result};

use crate::LossOptions;
use crate::arguments::precision;
use crate::elements::Elements;

const NAME: &str = "contractive";

/// The options of [`contractive`].
#[derive(Debug, Clone)]
pub struct ContractiveOptions {
    /// The encoder's activation, whose derivative its output tells.
    pub activation: Activation,
    /// What every loss has; the elements are the samples.
    pub loss: LossOptions,
}

impl Default for ContractiveOptions {
    fn default() -> Self {
        Self { activation: Activation::Sigmoid, loss: LossOptions::default() }
    }
}

/// The contractive penalty: how much an encoder's hidden units move with its input.
///
/// # Equation
/// lᵢ = ‖∂hᵢ / ∂xᵢ‖²_F = Σⱼ f′ᵢⱼ² Σ_k W_jk²
///
/// for an encoder h = f(x Wᵀ + b) of one affine layer and the activation f; reduced as
/// [`Reduction`](crate::Reduction) says. The derivative f′ is told by the output h:
///
/// | activation | f′ | h |
/// |---|---|---|
/// | identity | 1 | any |
/// | ReLU | 1 where h > 0, else 0 | at least 0 |
/// | ReLU6 | 1 where 0 < h < 6, else 0 | from 0 to 6 |
/// | leaky ReLU of slope a > 0 | 1 where h > 0, else a | any |
/// | sigmoid | h (1 − h) | from 0 to 1 |
/// | tanh | 1 − h² | from −1 to 1 |
/// | softplus | 1 − exp(−h) | at least 0 |
///
/// # Shapes
/// Hidden h (..., H), what the layer gave after its activation; weight W (H, D), as [`Linear`](taper_core::Linear) has
/// it. The value is (), in the square of hidden over input unit, or (...) with
/// [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`ContractiveOptions`]:
/// - `activation`: [`Activation::Sigmoid`], the paper's; one of the table.
/// - `loss`: [`LossOptions`], over the samples.
///
/// # Numerics
/// In closed form, so that one backward pass is enough, at the cost of one sum over the weight. Hidden and weight both
/// have a gradient; where the activation is made of lines, hidden has none, since f′ does not change. 1 − h² is
/// (1 − h) (1 + h). The range of h is checked on the host, which waits for an accelerator. f64 stays f64; f32, bf16 and
/// f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper: its sum over the training set is a mean over the batch by default, and its weight λ is that of a
///    part in a [`WeightedSum`](crate::WeightedSum).
/// 2. From `torch.autograd.functional.jacobian`: the same number without the Jacobian, for one layer only.
///
/// # Errors
/// Hidden without axes, or not floating-point, or with an element out of its activation's range (such as the values
/// before the activation); a weight that is not (H, D) or not of hidden's dtype; an activation whose derivative its
/// output does not tell (GELU, SiLU, a leaky ReLU of a slope that is not above 0 and finite); weights and a mask that
/// do not fit, a weight that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Rifai et al. 2011, Contractive auto-encoders: explicit invariance during feature extraction, ICML,
///   <https://icml.cc/2011/papers/455_icmlpaper.pdf>.
/// - `torch.autograd.functional.jacobian`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.autograd.functional.jacobian.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{ContractiveOptions, contractive};
///
/// // Sigmoids of the slopes 1/4 and 3/16.
/// let hidden = Tensor::new(&[[0.5, 0.25]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[4.0, 0.0, 8.0], [16.0, 0.0, 0.0]], &Device::Cpu)?;
/// let penalty = contractive(&hidden, &weight, &ContractiveOptions::default())?;
/// let jacobian = [[1.0f64, 0.0, 2.0], [3.0, 0.0, 0.0]];
/// let by_hand: f64 = jacobian.as_flattened().iter().map(|slope| slope * slope).sum();
/// assert_eq!(penalty.to_scalar::<f64>()?, by_hand);
/// # Ok(())
/// # }
/// ```
pub fn contractive(
    hidden: &Tensor,
    weight: &Tensor,
    options: &ContractiveOptions,
) -> Result<Tensor> {
    let dtype = precision(NAME, "hidden", hidden)?;
    let Some((units, samples)) = hidden.dims().split_last() else {
        return Err(Error::argument(NAME, "hidden", "of shape (..., H)", "[]"));
    };
    expect_weight(weight, *units, hidden)?;
    let elements = Elements::new(NAME, "hidden", samples, &options.loss)?;
    expect_range(options.activation, hidden, &elements)?;
    let hidden = elements.hide(&hidden.to_dtype(dtype)?)?;
    let slopes = slopes(options.activation, &hidden)?;
    let of_inputs = weight.to_dtype(dtype)?.sqr()?.sum(1)?;
    let losses = slopes.sqr()?.broadcast_mul(&of_inputs)?.sum(D::Minus1)?;
    elements.reduce_losses(losses, None)
}

fn expect_weight(weight: &Tensor, units: usize, hidden: &Tensor) -> Result<()> {
    if !matches!(weight.dims(), [rows, _] if *rows == units) {
        let expected = format!("of shape ({units}, D), as hidden has {units} units");
        return Err(Error::argument(NAME, "weight", expected, format!("{:?}", weight.dims())));
    }
    if weight.dtype() != hidden.dtype() {
        let expected = format!("{:?}, as hidden", hidden.dtype());
        return Err(Error::argument(NAME, "weight", expected, format!("{:?}", weight.dtype())));
    }
    Ok(())
}

/// That hidden is what the activation may give. What it was before that would be taken for it otherwise.
fn expect_range(activation: Activation, hidden: &Tensor, elements: &Elements) -> Result<()> {
    let (least, most, expected) = match activation {
        Activation::Sigmoid => (0.0, 1.0, "from 0 to 1, as a sigmoid gives it"),
        Activation::Tanh => (-1.0, 1.0, "from -1 to 1, as a tanh gives it"),
        Activation::Relu6 => (0.0, 6.0, "from 0 to 6, as a rectifier with that ceiling gives it"),
        Activation::Relu | Activation::Softplus => {
            (0.0, f64::INFINITY, "at least 0, as its activation gives it")
        }
        Activation::Identity
        | Activation::LeakyRelu { .. }
        | Activation::Gelu
        | Activation::Silu => return Ok(()),
    };
    elements.expect("hidden", hidden, expected, |value| (least..=most).contains(&value))
}

/// The derivative of the activation where its output is `h`.
fn slopes(activation: Activation, h: &Tensor) -> Result<Tensor> {
    let lines = |below: f64| -> Result<Tensor> {
        let one = h.ones_like()?;
        Ok(h.gt(0.0)?.where_cond(&one, &(&one * below)?)?)
    };
    match activation {
        Activation::Identity => Ok(h.ones_like()?),
        Activation::Relu => lines(0.0),
        Activation::Relu6 => Ok((lines(0.0)? * h.lt(6.0)?.to_dtype(h.dtype())?)?),
        Activation::LeakyRelu { negative_slope: slope } if slope > 0.0 && slope.is_finite() => {
            lines(slope)
        }
        Activation::Sigmoid => Ok((h * h.affine(-1.0, 1.0)?)?),
        Activation::Tanh => Ok((h.affine(-1.0, 1.0)? * (h + 1.0)?)?),
        Activation::Softplus => Ok(h.neg()?.exp()?.affine(-1.0, 1.0)?),
        Activation::Gelu | Activation::Silu | Activation::LeakyRelu { .. } => {
            let expected = "one whose derivative its output tells: Identity, Relu, Relu6, LeakyRelu of a \
                            slope above 0 and finite, Sigmoid, Tanh or Softplus";
            Err(Error::argument(NAME, "activation", expected, format!("{activation:?}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_every_activation() -> Result<()> {
        // The squared lengths of the rows are 25 and 4.
        let weight = Tensor::new(&[[3.0, 4.0], [0.0, 2.0]], &Device::Cpu)?;
        let hidden = Tensor::new(&[[0.5, 0.0], [1.0, 0.25]], &Device::Cpu)?;
        // Of hidden at 1/2, 0, 1 and 1/4.
        let softplus = [0.5f64, 0.0, 1.0, 0.25].map(|h| 1.0 - (-h).exp());
        for (activation, [a, b, c, d]) in [
            (Activation::Identity, [1.0; 4]),
            (Activation::Relu, [1.0, 0.0, 1.0, 1.0]),
            (Activation::Relu6, [1.0, 0.0, 1.0, 1.0]),
            (Activation::LeakyRelu { negative_slope: 0.5 }, [1.0, 0.5, 1.0, 1.0]),
            (Activation::Sigmoid, [0.25, 0.0, 0.0, 0.1875]),
            (Activation::Tanh, [0.75, 1.0, 0.0, 0.9375]),
            (Activation::Softplus, softplus),
        ] {
            let loss = LossOptions { reduction: Reduction::None, ..Default::default() };
            let losses = contractive(&hidden, &weight, &ContractiveOptions { activation, loss })?;
            let expected = [25.0 * a * a + 4.0 * b * b, 25.0 * c * c + 4.0 * d * d];
            for (loss, expected) in losses.to_vec1::<f64>()?.into_iter().zip(expected) {
                assert!(
                    (loss - expected).abs() < 1e-14,
                    "{activation:?}: {loss} is not {expected}"
                );
            }
        }
        // A unit at the ceiling does not move.
        let options = ContractiveOptions { activation: Activation::Relu6, ..Default::default() };
        let loss = contractive(&Tensor::new(&[[6.0, 0.5]], &Device::Cpu)?, &weight, &options)?;
        assert_eq!(loss.to_scalar::<f64>()?, 4.0);
        Ok(())
    }
}
