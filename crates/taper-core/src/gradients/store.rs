//! One way to read gradients for candle's store and for [`Gradients`].

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Shape, Tensor, Var};
use taper_kernels::optim;

use super::Gradients;
use super::slots::Slot;
use crate::clip::Clip;
use crate::op::{Elements, Scalar, by_dtype, has_kernels};
use crate::{Error, Result};

/// Gradients by parameter: candle's [`GradStore`] or Taper's [`Gradients`], as the optimizers take them.
pub trait GradientStore {
    /// The gradient of `parameter`; `None` where the loss does not depend on it.
    fn get(&self, parameter: &Var) -> Result<Option<Gradient<'_>>>;

    /// Puts a gradient in the place of that of `parameter`.
    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()>;

    /// Clips the gradient of `parameter`, where it has one.
    #[doc(hidden)]
    fn clip(&mut self, parameter: &Var, clip: Clip) -> Result<()> {
        match self.get(parameter)?.map(|gradient| gradient.to_tensor()) {
            Some(gradient) => self.set(parameter, &clip.composed(&gradient?)?),
            None => Ok(()),
        }
    }
}

/// One gradient, to be read.
pub struct Gradient<'a>(Source<'a>);

enum Source<'a> {
    Tensor(&'a Tensor),
    Slot(&'a Slot),
}

impl Gradient<'_> {
    /// As a tensor without a graph.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match self.0 {
            // Detached: candle's gradients hold on to the graph that they came from.
            Source::Tensor(tensor) => Ok(tensor.detach()),
            Source::Slot(slot) => slot.to_tensor(),
        }
    }

    /// The number of elements.
    pub(crate) fn elem_count(&self) -> usize {
        match self.0 {
            Source::Tensor(tensor) => tensor.elem_count(),
            Source::Slot(slot) => slot.shape.elem_count(),
        }
    }

    /// Whether it is of the form of `parameter`.
    pub(crate) fn fits(&self, parameter: &Var) -> bool {
        match self.0 {
            Source::Tensor(tensor) => {
                fits(tensor, parameter.shape(), parameter.dtype(), parameter.device())
            }
            // It was made for this variable.
            Source::Slot(_) => true,
        }
    }

    /// Dtype and shape, for an error.
    pub(crate) fn form(&self) -> String {
        match self.0 {
            Source::Tensor(tensor) => form(tensor.dtype(), tensor.shape()),
            Source::Slot(slot) => form(slot.dtype, &slot.shape),
        }
    }

    /// Calls `f` with the elements, which are `T` on the CPU. If they lie in the memory of `beside`, they
    /// are copied first, so that `f` can change that.
    pub(crate) fn read<T: Scalar, R>(
        &self,
        beside: Option<&Var>,
        f: impl FnOnce(&[T]) -> R,
    ) -> candle_core::Result<R> {
        match self.0 {
            Source::Tensor(tensor) => {
                let mut tensor = tensor.contiguous()?;
                if let Some(var) = beside
                    && overlap::<T>(&tensor, var)?
                {
                    tensor = tensor.copy()?;
                }
                Ok(f(Elements::of(&tensor)?.slice::<T>()?))
            }
            Source::Slot(slot) => Ok(f(slot.data.as_slice::<T>()?)),
        }
    }

    /// Σ g², in f64.
    pub(crate) fn sum_of_squares(&self) -> candle_core::Result<f64> {
        let dtype = match self.0 {
            Source::Tensor(tensor) if has_kernels(tensor) => tensor.dtype(),
            Source::Slot(slot) if slot.has_kernels() => slot.dtype,
            _ => return self.to_tensor()?.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar(),
        };
        by_dtype!("clip_grad_norm", dtype, T => self.read::<T, _>(None, optim::sum_of_squares))
    }
}

/// Whether two contiguous tensors have memory in common.
fn overlap<T: Scalar>(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let range = |tensor: &Tensor| -> candle_core::Result<_> {
        Ok(Elements::of(tensor)?.slice::<T>()?.as_ptr_range())
    };
    let (a, b) = (range(a)?, range(b)?);
    Ok(a.start < b.end && b.start < a.end)
}

fn fits(tensor: &Tensor, shape: &Shape, dtype: DType, device: &Device) -> bool {
    tensor.shape() == shape && tensor.dtype() == dtype && tensor.device().same_device(device)
}

fn form(dtype: DType, shape: &Shape) -> String {
    format!("{dtype:?} of shape {:?}", shape.dims())
}

impl GradientStore for GradStore {
    fn get(&self, parameter: &Var) -> Result<Option<Gradient<'_>>> {
        Ok(GradStore::get(self, parameter).map(|tensor| Gradient(Source::Tensor(tensor))))
    }

    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()> {
        self.insert(parameter, gradient.clone());
        Ok(())
    }
}

impl GradientStore for Gradients {
    fn get(&self, parameter: &Var) -> Result<Option<Gradient<'_>>> {
        let slot = self.slots.slot(parameter).ok_or_else(|| unknown(parameter))?;
        Ok(slot.filled.then_some(Gradient(Source::Slot(slot))))
    }

    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()> {
        let slot = self.slots.slot_mut(parameter).ok_or_else(|| unknown(parameter))?;
        if !fits(gradient, &slot.shape, slot.dtype, &slot.device) {
            let expected = format!("{} on its parameter's device", form(slot.dtype, &slot.shape));
            let received = form(gradient.dtype(), gradient.shape());
            return Err(Error::argument("Gradients::set", "gradient", expected, received));
        }
        slot.filled = false;
        slot.add(gradient)
    }

    fn clip(&mut self, parameter: &Var, clip: Clip) -> Result<()> {
        let slot = self.slots.slot_mut(parameter).ok_or_else(|| unknown(parameter))?;
        if slot.filled { slot.clip(clip) } else { Ok(()) }
    }
}

fn unknown(parameter: &Var) -> Error {
    let expected = "one of the variables that they were made for";
    let received = format!("another, {}", form(parameter.dtype(), parameter.shape()));
    Error::argument("Gradients", "the parameter", expected, received)
}
