//! The negative log-likelihood of log-probabilities.

use candle_core::Tensor;
use taper_core::Result;

use crate::classes::{Classes, expected};
use crate::{ClassOptions, Target};

/// The negative log-likelihood of log-probabilities against class indices or probabilities.
///
/// Of logits, use [`cross_entropy`](crate::cross_entropy): one pass instead of two.
///
/// # Equation
/// lᵢ = − Σ_c w_c q′ᵢ_c xᵢ_c
///
/// with the log-probabilities xᵢ of sample i, the class weights w and the smoothed target
/// q′ = (1 − ε) q + ε / C; q is 1 at the class of an index target and 0 elsewhere. Reduced as
/// [`Reduction`](crate::Reduction) says, where the class weight of sample i is Σ_c w_c qᵢ_c: that of its class for an
/// index target.
///
/// # Shapes
/// Log-probabilities (N, C, ...), in nats, or (C) for a single sample; the class axis C may be any. Index targets
/// have the shape without C, (N, ...) or (), probabilities that of the log-probabilities. The value is (), in nats,
/// or (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`ClassOptions`]. The default reduction, [`Reduction::WeightedMean`](crate::Reduction::WeightedMean), is PyTorch's
/// mean.
///
/// # Numerics
/// The loss is linear in its input; that the input's exponentials sum to 1 is not checked. A log-probability of −∞ has
/// no part in the loss where its target (or weight) is 0, and makes it infinite elsewhere. f64 stays f64; f32, bf16
/// and f16 are computed and returned in f32. Labels and weights are checked on the host, which waits for an
/// accelerator.
///
/// # Deviations
/// 1. From PyTorch: `ignore_index` is none, not −100; a label outside the classes is an error.
/// 2. From PyTorch: probabilities are a target too, and so is smoothing; it has them in its cross-entropy only.
/// 3. From PyTorch: a class of weight 0 has no part in the loss; there 0 · ∞ is NaN.
/// 4. From PyTorch: a mean over nothing is an error, not NaN.
/// 5. From PyTorch: the value of half-precision input is f32, and the target has no gradient.
///
/// # Errors
/// Those of [`cross_entropy`](crate::cross_entropy).
///
/// # References
/// - Fisher 1922, On the mathematical foundations of theoretical statistics (maximum likelihood), Philosophical
///   Transactions of the Royal Society A 222.
/// - `torch.nn.NLLLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.NLLLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{ClassOptions, Target, nll};
///
/// // Probabilities of 3/4 and 1/2 for the right class.
/// let log_probabilities = Tensor::new(&[[0.25, 0.75], [0.5, 0.5]], &Device::Cpu)?.log()?;
/// let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = nll(&log_probabilities, Target::Indices(&labels), &ClassOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn nll(
    log_probabilities: &Tensor,
    target: Target<'_>,
    options: &ClassOptions,
) -> Result<Tensor> {
    let classes = Classes::new("nll", "log_probabilities", log_probabilities, target, options)?;
    let target = classes.target()?.broadcast_mul(&classes.class_weights()?)?;
    let losses = expected(&classes.rows()?.neg()?, &target)?;
    classes.reduce_losses(&losses)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{LossOptions, Reduction};

    #[test]
    fn hand_numbers_of_class_weights_in_every_reduction() -> Result<()> {
        let log_probabilities = Tensor::new(&[[-1.0, -2.0], [-0.5, -3.0]], &Device::Cpu)?;
        let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
        let value = |reduction| {
            let class_weights = Some(Tensor::new(&[1.0, 3.0], &Device::Cpu)?);
            let loss = LossOptions { reduction, ..Default::default() };
            let options = ClassOptions { class_weights, loss, ..Default::default() };
            nll(&log_probabilities, Target::Indices(&labels), &options)
        };
        assert_eq!(value(Reduction::None)?.to_vec1::<f64>()?, [6.0, 0.5]);
        assert_eq!(value(Reduction::Sum)?.to_scalar::<f64>()?, 6.5);
        assert_eq!(value(Reduction::Mean)?.to_scalar::<f64>()?, 6.5 / 2.0);
        assert_eq!(value(Reduction::WeightedMean)?.to_scalar::<f64>()?, 6.5 / 4.0);
        Ok(())
    }
}
