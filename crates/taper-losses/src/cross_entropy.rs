//! The cross-entropy of logits against class indices or probabilities.

use candle_core::Tensor;
use taper_core::op::{self, Scalar};
use taper_core::{Error, Result};
use taper_kernels::loss::{self, Wanted};

use crate::arguments::{checked_weights, expect_shape, precision, target_like, to_host};
use crate::elements::Elements;
use crate::fused::Loss;
use crate::target::Labels;
use crate::{Empty, Reduction, Target};

const OPERATION: &str = "cross_entropy";

/// The options of [`cross_entropy`].
#[derive(Debug, Clone, Default)]
pub struct CrossEntropyOptions {
    /// How the losses of the samples become the value.
    pub reduction: Reduction,
    /// What a mean is when nothing is left to average.
    pub empty: Empty,
    /// The axis of the logits that holds the classes; `None` is 1, or 0 for a single sample (C).
    pub class_axis: Option<usize>,
    /// One weight a class (C), finite and not negative.
    pub class_weights: Option<Tensor>,
    /// The label of samples that do not count.
    pub ignore_index: Option<i64>,
    /// The part of each target that is spread evenly over all classes, from 0 to 1.
    pub label_smoothing: f64,
    /// Weights of the leading part of the losses' shape, finite and not negative.
    pub sample_weights: Option<Tensor>,
    /// A u8 mask of the leading part of the losses' shape, 0 where a sample does not count.
    pub mask: Option<Tensor>,
}

/// The cross-entropy of logits against class indices or probabilities.
///
/// # Equation
/// lᵢ = − Σ_c w_c q′ᵢ_c log pᵢ_c
///
/// with the softmax pᵢ of the logits of sample i, the class weights w and the smoothed target
/// q′ = (1 − ε) q + ε / C; q is 1 at the class of an index target and 0 elsewhere. Reduced as [`Reduction`]
/// says, where the class weight of sample i is Σ_c w_c qᵢ_c: that of its class for an index target.
///
/// # Shapes
/// Logits (N, C, ...), in nats, or (C) for a single sample; the class axis C may be any. Index targets
/// have the shape without C, (N, ...) or (), probabilities that of the logits. The value is (), in nats, or
/// (N, ...) with [`Reduction::None`].
///
/// # Parameters
/// Of [`CrossEntropyOptions`]:
/// - `reduction`: [`Reduction::WeightedMean`], PyTorch's mean for index targets.
/// - `empty`: [`Empty::Error`].
/// - `class_axis`: 1, or 0 for logits of one axis; below the number of axes.
/// - `class_weights`: none; at least 0.
/// - `ignore_index`: none; any integer. For index targets only.
/// - `label_smoothing`: 0; from 0 to 1.
/// - `sample_weights`: none; at least 0.
/// - `mask`: none. Samples that it leaves out count for nothing, even where they are NaN.
///
/// # Numerics
/// log p = (z − max z) − log Σ exp(z − max z), finite at logits of ±1e4; the maximum is a constant to the
/// backward pass. A logit of −∞ is a class of probability 0: it has no part in the loss where its target
/// (or weight) is 0, and makes it infinite elsewhere. f64 stays f64; f32, bf16 and f16 are computed and returned
/// in f32. Labels and weights are checked on the host, which waits for an accelerator.
///
/// # Deviations
/// 1. From PyTorch: with class weights and probabilities its mean divides by the number of samples. That
///    is [`Reduction::Mean`] here; the default divides by the weights, so that one-hot probabilities and
///    indices give the same value.
/// 2. From PyTorch: `ignore_index` is none, not −100; a label outside the classes is an error.
/// 3. From PyTorch: 0 · log 0 is 0 for soft targets, not NaN.
/// 4. From PyTorch: a mean over nothing is an error, not NaN.
/// 5. From PyTorch: the value of half-precision logits is f32, and the target has no gradient.
///
/// # Errors
/// Logits without classes or not floating-point; a target, weights or a mask that do not fit; the first
/// label outside the classes, with its position; a weight that is negative or not finite; a smoothing
/// outside 0 to 1; `ignore_index` with probabilities; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Szegedy et al. 2016, Rethinking the Inception architecture (label smoothing),
///   <https://arxiv.org/abs/1512.00567>.
/// - `torch.nn.CrossEntropyLoss`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{CrossEntropyOptions, Target, cross_entropy};
///
/// // Odds of 1 : 3 and of 1 : 1, so probabilities of 3/4 and 1/2 for the right class.
/// let logits = Tensor::new(&[[0.0, 3f64.ln()], [5.0, 5.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, Target::Indices(&labels), &CrossEntropyOptions::default())?;
/// let by_hand = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    target: Target<'_>,
    options: &CrossEntropyOptions,
) -> Result<Tensor> {
    let dtype = precision(OPERATION, "logits", logits)?;
    let axis = class_axis(logits, options)?;
    check_smoothing(options)?;
    let classes = logits.dim(axis)?;
    let class_weights = class_weights(options, classes)?;
    let logits_last = class_axis_last(logits, axis)?;
    let shape = &logits_last.dims()[..logits.rank() - 1];
    let mut elements = Elements::new(
        OPERATION,
        "logits",
        shape,
        options.sample_weights.as_ref(),
        options.mask.as_ref(),
    )?;
    let rows = (shape.iter().product::<usize>(), classes);
    let target = match target {
        Target::Indices(target) => {
            let labels = Labels::new(OPERATION, target, shape, classes, options.ignore_index)?;
            if let Some(kept) = &labels.kept {
                elements = elements.keep("target", kept);
            }
            RowTarget::Indices(labels)
        }
        Target::Probabilities(target) => {
            refuse_ignore_index(options)?;
            let target = target_like(OPERATION, target, "logits", logits)?;
            RowTarget::Probabilities(class_axis_last(&target, axis)?.contiguous()?.reshape(rows)?)
        }
    };
    let row_weights = match (&class_weights, options.reduction) {
        (Some(weights), Reduction::WeightedMean) => Some(row_weights(&target, weights)?),
        _ => None,
    };
    let loss = Rows { classes, target, class_weights, smoothing: options.label_smoothing };
    // Not reshaped: the kernel does not ask, and the gradient of a reshape is a copy of all logits.
    elements.reduce(
        &logits_last.to_dtype(dtype)?,
        loss,
        row_weights.as_deref(),
        options.reduction,
        options.empty,
    )
}

/// The target of logits (rows, C): one index a row, or (rows, C).
enum RowTarget {
    Indices(Labels),
    Probabilities(Tensor),
}

/// The weighted loss of each row of logits (rows, C).
struct Rows {
    classes: usize,
    target: RowTarget,
    class_weights: Option<Vec<f64>>,
    smoothing: f64,
}

impl Rows {
    fn against<T: Scalar>(
        &self,
        target: loss::Target<'_, T>,
        x: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64 {
        let weights = self.class_weights.as_ref();
        let weights: Option<Vec<T>> = weights.map(|all| all.iter().map(|w| T::of(*w)).collect());
        let (classes, smoothing) = (self.classes, self.smoothing);
        let class_weights = weights.as_deref();
        loss::CrossEntropy { classes, target, class_weights, smoothing }.evaluate(x, wanted)
    }
}

impl Loss for Rows {
    const NAME: &'static str = OPERATION;

    fn evaluate<T: Scalar>(&self, x: &[T], wanted: Wanted<'_, T>) -> candle_core::Result<f64> {
        match &self.target {
            RowTarget::Indices(labels) => {
                labels.read(|labels| self.against(loss::Target::Labels(labels), x, wanted))
            }
            RowTarget::Probabilities(target) => {
                let target = op::Elements::of(target)?;
                Ok(self.against(loss::Target::Probabilities(target.slice()?), x, wanted))
            }
        }
    }

    fn composed(&self, x: &Tensor, elements: &Elements) -> Result<Tensor> {
        let x = elements.hide(x)?.reshape((elements.shape().elem_count(), self.classes))?;
        if x.dim(0)? == 0 {
            // candle has no maximum of nothing.
            return Ok(x.sum(1)?.reshape(elements.shape())?);
        }
        // The maximum cancels, so it needs no gradient; candle would hand all of it to each of several equal ones.
        let shifted = x.broadcast_sub(&x.detach().max_keepdim(1)?)?;
        let log_sum_exp = shifted.exp()?.sum_keepdim(1)?.log()?;
        let weights = match &self.class_weights {
            Some(weights) => Tensor::new(weights.as_slice(), x.device())?.to_dtype(x.dtype())?,
            None => Tensor::ones(self.classes, x.dtype(), x.device())?,
        };
        let even = self.smoothing / self.classes as f64;
        let losses = match &self.target {
            RowTarget::Probabilities(target) => {
                let smoothed = elements.hide(target)?.affine(1.0 - self.smoothing, even)?;
                expected_loss(&shifted, &log_sum_exp, &smoothed.broadcast_mul(&weights)?)?
            }
            RowTarget::Indices(labels) => {
                let labels = elements.hide(&labels.to_device(x.device())?)?;
                let own = (&log_sum_exp - shifted.gather(&labels.unsqueeze(1)?, 1)?)?.squeeze(1)?;
                let own = (own * weights.index_select(&labels, 0)?)?;
                let others = (weights * even)?.broadcast_as(shifted.shape())?;
                let others = expected_loss(&shifted, &log_sum_exp, &others)?;
                ((own * (1.0 - self.smoothing))? + others)?
            }
        };
        Ok(losses.reshape(elements.shape())?)
    }
}

/// − Σ_c t_c log p_c of each row, with 0 · log 0 = 0.
fn expected_loss(shifted: &Tensor, log_sum_exp: &Tensor, target: &Tensor) -> Result<Tensor> {
    let losses = log_sum_exp.broadcast_sub(shifted)?;
    let losses = target.eq(0.0)?.where_cond(&losses.zeros_like()?, &losses)?;
    Ok((losses * target)?.sum(1)?)
}

/// The class weight of each row: of its class, or of its classes by their probabilities.
fn row_weights(target: &RowTarget, class_weights: &[f64]) -> Result<Vec<f64>> {
    match target {
        RowTarget::Indices(labels) => Ok(labels.weights(class_weights)?),
        RowTarget::Probabilities(target) => {
            let weights = Tensor::new(class_weights, target.device())?.to_dtype(target.dtype())?;
            to_host(&target.broadcast_mul(&weights)?.sum(1)?)
        }
    }
}

fn class_axis(logits: &Tensor, options: &CrossEntropyOptions) -> Result<usize> {
    let axis = options.class_axis.unwrap_or(usize::from(logits.rank() != 1));
    let received = || format!("{axis} for logits of shape {:?}", logits.dims());
    match logits.dims().get(axis) {
        None => {
            let expected = format!("below {}", logits.rank());
            Err(Error::argument(OPERATION, "class_axis", expected, received()))
        }
        Some(0) => {
            let received = format!("{:?}", logits.dims());
            let expected = format!("of at least one class along axis {axis}");
            Err(Error::argument(OPERATION, "logits", expected, received))
        }
        Some(_) => Ok(axis),
    }
}

fn class_axis_last(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let last = tensor.rank() - 1;
    if axis == last {
        return Ok(tensor.clone());
    }
    let order: Vec<usize> = (0..=last).filter(|at| *at != axis).chain([axis]).collect();
    Ok(tensor.permute(order)?)
}

fn class_weights(options: &CrossEntropyOptions, classes: usize) -> Result<Option<Vec<f64>>> {
    let Some(weights) = &options.class_weights else {
        return Ok(None);
    };
    expect_shape(OPERATION, "class_weights", weights, &[classes])?;
    checked_weights(OPERATION, "class_weights", weights).map(Some)
}

fn check_smoothing(options: &CrossEntropyOptions) -> Result<()> {
    let smoothing = options.label_smoothing;
    if (0.0..=1.0).contains(&smoothing) {
        return Ok(());
    }
    Err(Error::argument(OPERATION, "label_smoothing", "from 0 to 1", smoothing))
}

fn refuse_ignore_index(options: &CrossEntropyOptions) -> Result<()> {
    match options.ignore_index {
        None => Ok(()),
        Some(ignored) => {
            let expected = "none with Target::Probabilities (use a mask)";
            Err(Error::argument(OPERATION, "ignore_index", expected, ignored))
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(
            random in random(),
            (soft, weighted) in any::<(bool, bool)>(),
            smoothing in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0],
        ) {
            let (rows, classes) = (random.rows, random.columns);
            let positive = |name: &str, shape: &[usize]| random.normal(name, shape).abs().unwrap();
            let labels = |shape: &[usize]| {
                let labels = positive("labels", shape).to_dtype(DType::I64).unwrap();
                let labels = labels.minimum(&(labels.ones_like().unwrap() * (classes as f64 - 1.0)).unwrap());
                Labels::new("twins", &labels.unwrap(), shape, classes, None).unwrap()
            };
            let loss = || Rows {
                classes,
                target: if soft {
                    RowTarget::Probabilities(positive("target", &[rows, classes]))
                } else {
                    RowTarget::Indices(labels(&[rows]))
                },
                class_weights: weighted.then(|| to_host(&positive("weights", &[classes])).unwrap()),
                smoothing,
            };
            random.twins_agree(&random.normal("x", (rows, classes)), rows, loss);
        }
    }

    /// Probabilities 1/4 and 3/4; then 1/2 each.
    fn logits() -> Result<Tensor> {
        Ok(Tensor::new(&[[0.0, 3f64.ln()], [5.0, 5.0]], &Device::Cpu)?)
    }

    fn assert_near(value: Tensor, expected: f64) -> Result<()> {
        let value = value.to_scalar::<f64>()?;
        assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
        Ok(())
    }

    #[test]
    fn hand_numbers_of_class_weights_in_every_reduction() -> Result<()> {
        let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
        let (first, second) = (3.0 * (4.0f64 / 3.0).ln(), 2f64.ln());
        let value = |reduction| {
            let class_weights = Some(Tensor::new(&[1.0, 3.0], &Device::Cpu)?);
            let options = CrossEntropyOptions { reduction, class_weights, ..Default::default() };
            cross_entropy(&logits()?, Target::Indices(&labels), &options)
        };
        assert_near(value(Reduction::Sum)?, first + second)?;
        assert_near(value(Reduction::Mean)?, (first + second) / 2.0)?;
        assert_near(value(Reduction::WeightedMean)?, (first + second) / 4.0)?;
        assert_near(value(Reduction::None)?.get(0)?, first)
    }

    #[test]
    fn hand_numbers_of_smoothing_and_ignored_labels() -> Result<()> {
        let labels = Tensor::new(&[1i64, -100], &Device::Cpu)?;
        let options = CrossEntropyOptions {
            label_smoothing: 0.5,
            ignore_index: Some(-100),
            ..Default::default()
        };
        // The smoothed target of the only sample left is (1/4, 3/4).
        let expected = 0.25 * 4f64.ln() + 0.75 * (4.0f64 / 3.0).ln();
        assert_near(cross_entropy(&logits()?, Target::Indices(&labels), &options)?, expected)
    }

    #[test]
    fn hand_numbers_of_probabilities() -> Result<()> {
        let target = Tensor::new(&[[0.5, 0.5], [1.0, 0.0]], &Device::Cpu)?;
        let options = CrossEntropyOptions::default();
        let expected = (0.5 * 4f64.ln() + 0.5 * (4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
        assert_near(cross_entropy(&logits()?, Target::Probabilities(&target), &options)?, expected)
    }
}
