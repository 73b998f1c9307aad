//! The multi-class margin loss.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::classes::{Classes, expected};
use crate::{ClassOptions, Target};

const OPERATION: &str = "multi_margin";

/// The options of [`multi_margin`].
#[derive(Debug, Clone)]
pub struct MultiMarginOptions {
    /// The power of each lack: 1 or 2.
    pub p: u32,
    /// By how much the right class is to be ahead of each other: m.
    pub margin: f64,
    /// What every loss over classes has; `label_smoothing` has to be 0.
    pub classes: ClassOptions,
}

impl Default for MultiMarginOptions {
    fn default() -> Self {
        Self { p: 1, margin: 1.0, classes: ClassOptions::default() }
    }
}

/// The multi-class margin loss: what the right class lacks to be ahead of each other class by a margin.
///
/// # Equation
/// lᵢ = w_y / C Σ_{c ≠ y} max(0, m − xᵢ_y + xᵢ_c)^p
///
/// with the scores xᵢ of sample i, its class y, the class weights w, the margin m and the power p; reduced as
/// [`Reduction`](crate::Reduction) says, where the class weight of sample i is w_y.
///
/// # Shapes
/// Input (N, C, ...), in any unit, or (C) for a single sample; the class axis C may be any. The target, class indices
/// of an integer dtype, has the shape without C, (N, ...) or (). The value is (), in the unit to the power p, or
/// (N, ...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`MultiMarginOptions`]:
/// - `p`: 1; 1 or 2.
/// - `margin`: 1, in the input's unit; finite.
/// - `classes`: [`ClassOptions`], without smoothing. The mean of PyTorch is [`Reduction::Mean`](crate::Reduction::Mean).
///
/// # Numerics
/// The derivative is 0 where a class is behind by just the margin. A score of −∞ is a class that is never ahead: it has
/// no part in the loss where it is not the label. f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
/// Labels and weights are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: with class weights its mean divides by the number of samples. That is
///    [`Reduction::Mean`](crate::Reduction::Mean) here; the default divides by the weights.
/// 2. From PyTorch: the class axis may be any, and there may be more axes; its input is (N, C) or (C).
/// 3. From PyTorch: labels may be ignored.
/// 4. From PyTorch: a mean over nothing is an error; there it is any number.
/// 5. From PyTorch: the value of half-precision input is f32.
///
/// # Errors
/// A p other than 1 and 2, a margin that is not finite; input without classes or not floating-point; a target, weights
/// or a mask that do not fit; the first label outside the classes, with its position; a weight that is negative or not
/// finite; a smoothing other than 0; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Crammer and Singer 2001, On the algorithmic implementation of multiclass kernel-based vector machines, JMLR 2
///   (with the largest lack; the sum is of Weston and Watkins 1999, Support vector machines for multi-class pattern
///   recognition, ESANN).
/// - `torch.nn.MultiMarginLoss`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiMarginLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{MultiMarginOptions, multi_margin};
///
/// // The right class is ahead by a half, by two, and behind by one.
/// let input = Tensor::new(&[[3.0, 2.5, 1.0, 4.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32], &Device::Cpu)?;
/// let loss = multi_margin(&input, &target, &MultiMarginOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.5 + 0.0 + 2.0) / 4.0);
/// # Ok(())
/// # }
/// ```
pub fn multi_margin(
    input: &Tensor,
    target: &Tensor,
    options: &MultiMarginOptions,
) -> Result<Tensor> {
    let MultiMarginOptions { p, margin, classes } = options;
    if ![1, 2].contains(p) {
        return Err(Error::argument(OPERATION, "p", "1 or 2", p));
    }
    if !margin.is_finite() {
        return Err(Error::argument(OPERATION, "margin", "finite", margin));
    }
    if classes.label_smoothing != 0.0 {
        let received = classes.label_smoothing;
        return Err(Error::argument(
            OPERATION,
            "label_smoothing",
            "0: a label is one class",
            received,
        ));
    }
    let classes = Classes::new(OPERATION, "input", input, Target::Indices(target), classes)?;
    let (x, own) = (classes.rows()?, classes.target()?);
    let weights = own.broadcast_mul(&classes.class_weights()?)?.sum(1)?;
    let lack = (x.broadcast_sub(&expected(&x, &own)?.unsqueeze(1)?)? + *margin)?;
    let lack = own.eq(0.0)?.where_cond(&rectified(&lack)?, &lack.zeros_like()?)?;
    let lack = if *p == 2 { lack.sqr()? } else { lack };
    let losses = (lack.sum(1)? / x.dim(1)? as f64)?;
    classes.reduce_losses(&(losses * weights)?)
}

/// max(x, 0) with the derivative 0 at 0, where candle's own is 1; NaN stays.
pub(super) fn rectified(x: &Tensor) -> Result<Tensor> {
    Ok(x.le(0.0)?.where_cond(&x.zeros_like()?, x)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{LossOptions, Reduction};

    #[test]
    fn hand_numbers_of_class_weights_in_every_reduction() -> Result<()> {
        // Lacks of 2 and 1/2, and of 0 and 3.
        let input = Tensor::new(&[[1.0, 2.0, 0.5], [1.0, -4.0, 3.0]], &Device::Cpu)?;
        let labels = Tensor::new(&[0u32, 0], &Device::Cpu)?;
        let weights = Tensor::new(&[3.0, 1.0, 1.0], &Device::Cpu)?;
        let value = |reduction, p| {
            let loss = LossOptions { reduction, ..Default::default() };
            let class_weights = Some(weights.clone());
            let classes = ClassOptions { class_weights, loss, ..Default::default() };
            multi_margin(&input, &labels, &MultiMarginOptions { p, classes, ..Default::default() })
        };
        assert_eq!(value(Reduction::None, 1)?.to_vec1::<f64>()?, [2.5, 3.0]);
        assert_eq!(value(Reduction::None, 2)?.to_vec1::<f64>()?, [4.25, 9.0]);
        assert_eq!(value(Reduction::Sum, 1)?.to_scalar::<f64>()?, 5.5);
        assert_eq!(value(Reduction::Mean, 1)?.to_scalar::<f64>()?, 5.5 / 2.0);
        assert_eq!(value(Reduction::WeightedMean, 1)?.to_scalar::<f64>()?, 5.5 / 6.0);
        Ok(())
    }
}
