//! What a classification loss compares with: hard or soft labels.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::arguments::{element, expect_shape};

/// The target of a classification loss.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The class of each sample, of any integer dtype and the logits' shape without the class axis.
    Indices(&'a Tensor),
    /// The probability of each class, of the logits' dtype and shape. That the classes of a sample sum
    /// to 1 is not checked: the loss is linear in them.
    Probabilities(&'a Tensor),
}

/// Class indices that were checked.
pub(crate) struct Labels {
    /// In row-major order, as u32; 0 where the label is ignored.
    pub(crate) indices: Tensor,
    /// 0 where the label is ignored, of the shape of the labels; `None` where none is.
    pub(crate) kept: Option<Tensor>,
}

impl Labels {
    /// The labels `target` of the given shape, each one of `classes` or `ignore_index`.
    pub(crate) fn new(
        operation: &'static str,
        target: &Tensor,
        shape: &[usize],
        classes: usize,
        ignore_index: Option<i64>,
    ) -> Result<Self> {
        if !target.dtype().is_int() {
            let expected = "of an integer dtype (soft targets are Target::Probabilities)";
            let received = format!("{:?}", target.dtype());
            return Err(Error::argument(operation, "target", expected, received));
        }
        expect_shape(operation, "target", target, shape)?;
        let labels: Vec<i64> =
            target.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
        let in_range = |label: i64| (0..classes as i64).contains(&label);
        if let Some(at) =
            labels.iter().position(|label| Some(*label) != ignore_index && !in_range(*label))
        {
            let expected = match ignore_index {
                Some(ignored) => format!("a class below {classes}, or {ignored} to be ignored"),
                None => format!("a class below {classes} (`ignore_index` leaves a label out)"),
            };
            let argument = element("target", at, shape);
            return Err(Error::argument(operation, argument, expected, labels[at]));
        }
        let ignored = |label: &i64| Some(*label) == ignore_index;
        let indices: Vec<u32> =
            labels.iter().map(|label| if ignored(label) { 0 } else { *label as u32 }).collect();
        let kept = labels.iter().any(ignored).then(|| {
            let kept: Vec<u8> = labels.iter().map(|label| u8::from(!ignored(label))).collect();
            Tensor::from_vec(kept, shape, target.device())
        });
        Ok(Self {
            indices: Tensor::from_vec(indices, labels.len(), target.device())?,
            kept: kept.transpose()?,
        })
    }
}
