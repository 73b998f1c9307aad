//! What a classification loss compares with: hard or soft labels.

use candle_core::{DType, Device, Tensor};
use taper_core::op::Elements;
use taper_core::{Error, Result};
use taper_kernels::loss;

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
    /// In row-major order, u32 or i64 on the host; anything where the label is ignored.
    indices: Tensor,
    /// False where the label is ignored; `None` where none is.
    pub(crate) kept: Option<Vec<bool>>,
}

impl Labels {
    /// The labels `target` of the given shape, each one of `classes` or `ignore_index`, but where `counting` is false.
    pub(crate) fn new(
        operation: &'static str,
        target: &Tensor,
        shape: &[usize],
        classes: usize,
        ignore_index: Option<i64>,
        counting: Option<&[bool]>,
    ) -> Result<Self> {
        if !target.dtype().is_int() {
            let expected = "of an integer dtype (soft targets are Target::Probabilities)";
            let received = format!("{:?}", target.dtype());
            return Err(Error::argument(operation, "target", expected, received));
        }
        expect_shape(operation, "target", target, shape)?;
        let target = target.to_device(&Device::Cpu)?.flatten_all()?;
        let indices = match target.dtype() {
            DType::U32 | DType::I64 => target.contiguous()?,
            _ => target.to_dtype(DType::I64)?,
        };
        let mut labels = Self { indices, kept: None };
        labels.kept = labels.read(|labels| {
            let outside = |label: i64| !(0..classes as i64).contains(&label);
            let counts =
                |at: usize| counting.is_none_or(|counting| counting.get(at) == Some(&true));
            let wrong = |&(at, label): &(usize, i64)| {
                outside(label) && Some(label) != ignore_index && counts(at)
            };
            if let Some((at, label)) = labels.iter().enumerate().find(wrong) {
                let expected = match ignore_index {
                    Some(ignored) => {
                        format!("a class, from 0 to below {classes}, or {ignored} to be ignored")
                    }
                    None => format!(
                        "a class, from 0 to below {classes} (`ignore_index` leaves a label out)"
                    ),
                };
                let argument = element("target", at, shape);
                return Err(Error::argument(operation, argument, expected, label));
            }
            let kept: Option<Vec<bool>> =
                ignore_index.map(|ignored| labels.iter().map(|label| label != ignored).collect());
            Ok(kept.filter(|kept| kept.contains(&false)))
        })??;
        Ok(labels)
    }

    /// Calls `f` with the labels, which are not copied.
    pub(crate) fn read<R>(&self, f: impl FnOnce(loss::Labels<'_>) -> R) -> candle_core::Result<R> {
        let elements = Elements::of(&self.indices)?;
        Ok(f(match self.indices.dtype() {
            DType::U32 => loss::Labels::U32(elements.slice()?),
            _ => loss::Labels::I64(elements.slice()?),
        }))
    }

    /// Of each row the class weight of its label; 0 for a label that is no class.
    pub(crate) fn weights(&self, class_weights: &[f64]) -> candle_core::Result<Vec<f64>> {
        let weight = |label: i64| class_weights.get(label as usize).copied().unwrap_or(0.0);
        self.read(|labels| labels.iter().map(weight).collect())
    }

    /// The labels on another device.
    pub(crate) fn to_device(&self, device: &Device) -> candle_core::Result<Tensor> {
        self.indices.to_device(device)
    }
}
