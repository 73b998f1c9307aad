//! Losses of samples against classes: the class axis, hard and soft targets, class weights, smoothing.

use candle_core::{DType, Device, Tensor};
use taper_core::op::{self, Scalar};
use taper_core::{Error, Result};
use taper_kernels::loss::{self, CrossEntropy, Wanted};

use crate::arguments::{checked_weights, expect_shape, precision, target_like, to_host};
use crate::elements::Elements;
use crate::fused::Loss;
use crate::target::Labels;
use crate::{LossOptions, Reduction, Target};

/// The options of the losses of samples against classes.
#[derive(Debug, Clone, Default)]
pub struct ClassOptions {
    /// The axis that holds the classes; `None` is 1, or 0 for a single sample (C).
    pub class_axis: Option<usize>,
    /// One weight a class (C), finite and not negative; none by default.
    pub class_weights: Option<Tensor>,
    /// The label of samples that do not count, for index targets; none by default.
    pub ignore_index: Option<i64>,
    /// The part ε of each target that is spread evenly over all classes, from 0, the default, to 1.
    pub label_smoothing: f64,
    /// What every loss has; the elements are the samples.
    pub loss: LossOptions,
}

/// The target of inputs (rows, C): one index a row, or (rows, C).
enum RowTarget {
    Indices(Labels),
    Probabilities(Tensor),
}

/// The checked arguments of a loss of samples against classes.
pub(crate) struct Classes {
    /// The class axis last, in the dtype of the computation.
    input: Tensor,
    classes: usize,
    target: RowTarget,
    class_weights: Option<Vec<f64>>,
    smoothing: f64,
    reduction: Reduction,
    elements: Elements,
}

impl Classes {
    /// Of the loss's first argument `input`, called `name`.
    pub(crate) fn new(
        operation: &'static str,
        name: &'static str,
        input: &Tensor,
        target: Target<'_>,
        options: &ClassOptions,
    ) -> Result<Self> {
        let dtype = precision(operation, name, input)?;
        let axis = class_axis(operation, name, input, options.class_axis)?;
        let smoothing = options.label_smoothing;
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::argument(operation, "label_smoothing", "from 0 to 1", smoothing));
        }
        let classes = input.dim(axis)?;
        let class_weights = class_weights(operation, options, classes)?;
        let last = class_axis_last(input, axis)?;
        let shape = &last.dims()[..input.rank() - 1];
        let mut elements = Elements::new(operation, name, shape, &options.loss)?;
        let rows = (shape.iter().product::<usize>(), classes);
        let target = match (target, options.ignore_index) {
            (Target::Indices(target), ignored) => {
                let counting = elements.counting();
                let counting = counting.as_deref();
                let labels = Labels::new(operation, target, shape, classes, ignored, counting)?;
                if let Some(kept) = &labels.kept {
                    elements = elements.keep("target", kept);
                }
                RowTarget::Indices(labels)
            }
            (Target::Probabilities(_), Some(ignored)) => {
                let expected = "none with Target::Probabilities (use a mask)";
                return Err(Error::argument(operation, "ignore_index", expected, ignored));
            }
            (Target::Probabilities(target), None) => {
                let target = class_axis_last(&target_like(operation, target, name, input)?, axis)?;
                RowTarget::Probabilities(target.contiguous()?.reshape(rows)?)
            }
        };
        let reduction = options.loss.reduction;
        let input = last.to_dtype(dtype)?;
        Ok(Self { input, classes, target, class_weights, smoothing, reduction, elements })
    }

    /// The value of a loss Σ_c w_c q′_c φ(log p_c) of logits.
    pub(crate) fn reduce<F: OfLogProbability>(self, of_log_probability: F) -> Result<Tensor> {
        let weights = self.row_weights()?;
        let Self { input, classes, target, class_weights, smoothing, elements, .. } = self;
        let rows = Rows { classes, target, class_weights, smoothing, of_log_probability };
        // Not reshaped: the kernel does not ask, and the gradient of a reshape is a copy of all logits.
        elements.reduce(&input, rows, weights.as_deref())
    }

    /// The value of a loss without a kernel from the losses of the rows, which contain the class weights.
    pub(crate) fn reduce_losses(self, losses: &Tensor) -> Result<Tensor> {
        let weights = self.row_weights()?;
        let losses = losses.reshape(self.elements.shape())?;
        self.elements.reduce_losses(losses, weights.as_deref())
    }

    /// The input (rows, C), 0 in the rows that do not count.
    pub(crate) fn rows(&self) -> Result<Tensor> {
        let rows = (self.elements.shape().elem_count(), self.classes);
        Ok(self.elements.hide(&self.input)?.reshape(rows)?)
    }

    /// The smoothed target q′ (rows, C), 0 in the rows that do not count, but for the smoothing.
    pub(crate) fn target(&self) -> Result<Tensor> {
        soft(&self.target, &self.elements, self.classes, self.smoothing, &self.input)
    }

    /// The class weights (1, C), 1 where there are none.
    pub(crate) fn class_weights(&self) -> Result<Tensor> {
        weights_like(self.class_weights.as_deref(), self.classes, &self.input)
    }

    /// What the class weights make of the weight of each row, where a mean asks.
    fn row_weights(&self) -> Result<Option<Vec<f64>>> {
        match (&self.class_weights, self.reduction) {
            (Some(weights), Reduction::WeightedMean) => {
                row_weights(&self.target, weights).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// φ of the logarithm of a class's probability under the softmax of logits.
pub(crate) trait OfLogProbability: Send + Sync + 'static {
    /// The name of the operation.
    const NAME: &'static str;

    /// The sum of the weighted losses of the rows of `logits`, and what else is wanted.
    fn evaluate<T: Scalar>(
        &self,
        rows: CrossEntropy<'_, T>,
        logits: &[T],
        wanted: Wanted<'_, T>,
    ) -> f64;

    /// The twin in candle's operations, of `log_p` of any shape.
    fn composed(&self, log_p: &Tensor) -> Result<Tensor>;
}

/// The weighted loss of each row of logits (rows, C).
pub(crate) struct Rows<F> {
    classes: usize,
    target: RowTarget,
    class_weights: Option<Vec<f64>>,
    smoothing: f64,
    of_log_probability: F,
}

impl<F: OfLogProbability> Rows<F> {
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
        let rows = CrossEntropy { classes, target, class_weights, smoothing };
        self.of_log_probability.evaluate(rows, x, wanted)
    }
}

impl<F: OfLogProbability> Loss for Rows<F> {
    const NAME: &'static str = F::NAME;

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
        let rows = (elements.shape().elem_count(), self.classes);
        let x = elements.hide(x)?.reshape(rows)?;
        let target = soft(&self.target, elements, self.classes, self.smoothing, &x)?;
        let weights = weights_like(self.class_weights.as_deref(), self.classes, &x)?;
        let terms = self.of_log_probability.composed(&log_softmax(&x)?)?;
        Ok(expected(&terms, &target.broadcast_mul(&weights)?)?.reshape(elements.shape())?)
    }
}

/// The logarithm of the softmax of each row of (rows, C).
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    if x.elem_count() == 0 {
        // candle has no maximum of nothing.
        return Ok(x.clone());
    }
    // The maximum cancels, so it needs no gradient; candle would hand all of it to each of several equal ones.
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(1)?)?;
    Ok(shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(1)?.log()?)?)
}

/// Σ_c t_c l_c of each row (rows, C), with 0 · ∞ = 0.
pub(crate) fn expected(terms: &Tensor, target: &Tensor) -> Result<Tensor> {
    let terms = target.eq(0.0)?.where_cond(&terms.zeros_like()?, terms)?;
    Ok((terms * target)?.sum(1)?)
}

/// (1 − ε) q + ε / C of each row, in the dtype and on the device of `like`.
fn soft(
    target: &RowTarget,
    elements: &Elements,
    classes: usize,
    smoothing: f64,
    like: &Tensor,
) -> Result<Tensor> {
    let target = match target {
        RowTarget::Probabilities(target) => elements.hide(target)?,
        RowTarget::Indices(labels) => {
            let labels = elements.hide(&labels.to_device(&Device::Cpu)?)?.to_dtype(DType::I64)?;
            let all = Tensor::arange(0, classes as i64, &Device::Cpu)?.unsqueeze(0)?;
            labels.unsqueeze(1)?.broadcast_eq(&all)?.to_dtype(like.dtype())?
        }
    };
    let smoothed = target.affine(1.0 - smoothing, smoothing / classes as f64)?;
    Ok(smoothed.to_device(like.device())?)
}

fn weights_like(weights: Option<&[f64]>, classes: usize, like: &Tensor) -> Result<Tensor> {
    Ok(match weights {
        Some(weights) => {
            Tensor::new(weights, like.device())?.to_dtype(like.dtype())?.unsqueeze(0)?
        }
        None => Tensor::ones((1, classes), like.dtype(), like.device())?,
    })
}

/// The class weight of each row: of its class, or of its classes by their probabilities.
fn row_weights(target: &RowTarget, class_weights: &[f64]) -> Result<Vec<f64>> {
    match target {
        RowTarget::Indices(labels) => Ok(labels.weights(class_weights)?),
        RowTarget::Probabilities(target) => {
            let weights = weights_like(Some(class_weights), class_weights.len(), target)?;
            to_host(&target.broadcast_mul(&weights)?.sum(1)?)
        }
    }
}

/// The axis of the classes of `input`, called `name`, if it is there and has a class.
pub(crate) fn class_axis(
    operation: &'static str,
    name: &str,
    input: &Tensor,
    chosen: Option<usize>,
) -> Result<usize> {
    let axis = chosen.unwrap_or(usize::from(input.rank() != 1));
    match input.dims().get(axis) {
        None => {
            let expected = format!("below {}", input.rank());
            let received = format!("{axis} for {name} of shape {:?}", input.dims());
            Err(Error::argument(operation, "class_axis", expected, received))
        }
        Some(0) => {
            let received = format!("{:?}", input.dims());
            let expected = format!("of at least one class along axis {axis}");
            Err(Error::argument(operation, name, expected, received))
        }
        Some(_) => Ok(axis),
    }
}

/// `tensor` with the class axis behind the others.
pub(crate) fn class_axis_last(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let last = tensor.rank() - 1;
    if axis == last {
        return Ok(tensor.clone());
    }
    let order: Vec<usize> = (0..=last).filter(|at| *at != axis).chain([axis]).collect();
    Ok(tensor.permute(order)?)
}

fn class_weights(
    operation: &'static str,
    options: &ClassOptions,
    classes: usize,
) -> Result<Option<Vec<f64>>> {
    let Some(weights) = &options.class_weights else {
        return Ok(None);
    };
    expect_shape(operation, "class_weights", weights, &[classes])?;
    checked_weights(operation, "class_weights", weights).map(Some)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elements::tests::Random;

    /// What is random of the classes in a comparison of twins.
    pub(crate) fn random_classes() -> impl Strategy<Value = (bool, bool, f64)> {
        (any::<bool>(), any::<bool>(), prop_oneof![Just(0.0), Just(1.0), 0.0..1.0])
    }

    /// That the fused and the composed loss agree, for hard or `soft` targets.
    pub(crate) fn twins_agree<F: OfLogProbability>(
        random: &Random,
        (is_soft, weighted, smoothing): (bool, bool, f64),
        of_log_probability: impl Fn() -> F,
    ) {
        let (rows, classes) = (random.rows, random.columns);
        let positive = |name: &str, shape: &[usize]| random.normal(name, shape).abs().unwrap();
        let labels = |shape: &[usize]| {
            let labels = positive("labels", shape).to_dtype(DType::I64).unwrap();
            let most = (labels.ones_like().unwrap() * (classes as f64 - 1.0)).unwrap();
            let labels = labels.minimum(&most).unwrap();
            Labels::new("twins", &labels, shape, classes, None, None).unwrap()
        };
        let loss = || Rows {
            classes,
            target: if is_soft {
                RowTarget::Probabilities(positive("target", &[rows, classes]))
            } else {
                RowTarget::Indices(labels(&[rows]))
            },
            class_weights: weighted.then(|| to_host(&positive("weights", &[classes])).unwrap()),
            smoothing,
            of_log_probability: of_log_probability(),
        };
        random.twins_agree(&random.normal("x", (rows, classes)), rows, loss);
    }
}
