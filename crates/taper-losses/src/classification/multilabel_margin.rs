//! The margin loss of several labels a sample.

use candle_core::Tensor;
use taper_core::{Error, Result};

use super::multi_margin::rectified;
use crate::LossOptions;
use crate::arguments::{precision, target_like};
use crate::elements::Elements;

const OPERATION: &str = "multilabel_margin";

/// The margin loss of several labels a sample: what each right class lacks to be ahead of each wrong one by 1.
///
/// # Equation
/// lᵢ = 1 / C Σ_{j: yᵢ_j = 1} Σ_{c: yᵢ_c = 0} max(0, 1 − xᵢ_j + xᵢ_c)
///
/// with the scores xᵢ of sample i and its target yᵢ, 1 at its classes and 0 elsewhere; reduced as
/// [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (..., C), of the same shape, the classes along the last axis; without a unit, as the margin is 1.
/// The value is (), or (...) with [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// [`LossOptions`]; the elements are the samples, so that `sample_weights` and `mask` are of the leading part of (...).
///
/// # Numerics
/// The derivative is 0 where a class is behind by just the margin. A sample with no class or with all of them costs 0.
/// All pairs of classes are formed at once, (..., C, C) numbers. f64 stays f64; f32, bf16 and f16 are computed and
/// returned in f32. The target is checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: the target is 1 or 0 for each class, as of the other losses of several labels; there it is the list
///    of the classes, ended by −1.
/// 2. From PyTorch: there may be any number of leading axes; its input is (N, C) or (C).
/// 3. From PyTorch: the value of half-precision input is f32, and there are weights and a mask.
///
/// # Errors
/// Input and target of different shapes or dtypes or not floating-point, or without classes; the first target other
/// than 0 and 1, with its position; weights and a mask that do not fit, a weight that is negative or not finite;
/// nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Crammer and Singer 2003, A family of additive online algorithms for category ranking, JMLR 3.
/// - `torch.nn.MultiLabelMarginLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelMarginLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{LossOptions, multilabel_margin};
///
/// // The first right class is ahead of the wrong ones by 3/4 and 2, the second by −1 and 1/4.
/// let input = Tensor::new(&[[3.0, 1.25, 2.25, 1.0]], &Device::Cpu)?;
/// let target = Tensor::new(&[[1.0, 1.0, 0.0, 0.0]], &Device::Cpu)?;
/// let loss = multilabel_margin(&input, &target, &LossOptions::default())?;
/// assert_eq!(loss.to_scalar::<f64>()?, (0.25 + 0.0 + 2.0 + 0.75) / 4.0);
/// # Ok(())
/// # }
/// ```
pub fn multilabel_margin(input: &Tensor, target: &Tensor, options: &LossOptions) -> Result<Tensor> {
    let dtype = precision(OPERATION, "input", input)?;
    let Some((&classes @ 1.., leading)) = input.dims().split_last() else {
        let received = format!("{:?}", input.dims());
        return Err(Error::argument(OPERATION, "input", "of at least one class", received));
    };
    let target = target_like(OPERATION, target, "input", input)?;
    let elements = Elements::new(OPERATION, "input", leading, options)?;
    elements.expect("target", &target, "0 or 1", |y| y == 0.0 || y == 1.0)?;
    let rows = (elements.shape().elem_count(), classes);
    let x = elements.hide(&input.to_dtype(dtype)?)?.reshape(rows)?;
    let target = elements.hide(&target)?.reshape(rows)?;
    let (right, wrong) = (target.unsqueeze(2)?, target.eq(0.0)?.to_dtype(dtype)?.unsqueeze(1)?);
    let lack = (x.unsqueeze(1)?.broadcast_sub(&x.unsqueeze(2)?)? + 1.0)?;
    let counts = right.broadcast_mul(&wrong)?.ne(0.0)?;
    let lack = counts.where_cond(&rectified(&lack)?, &lack.zeros_like()?)?;
    let losses = (lack.sum((1, 2))? / classes as f64)?;
    elements.reduce_losses(losses.reshape(leading)?, None)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::Reduction;

    #[test]
    fn hand_numbers_of_none_some_and_all() -> Result<()> {
        let input = Tensor::new(&[[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]], &Device::Cpu)?;
        let target = Tensor::new(&[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &Device::Cpu)?;
        let options = LossOptions { reduction: Reduction::None, ..Default::default() };
        let losses = multilabel_margin(&input, &target, &options)?;
        assert_eq!(losses.to_vec1::<f64>()?, [0.0, 1.0, 0.0, 0.0]);
        let one = multilabel_margin(&input.get(1)?, &target.get(1)?, &LossOptions::default())?;
        assert_eq!(one.to_scalar::<f64>()?, 1.0);
        Ok(())
    }
}
