//! A loss as one differentiable operation: value and gradient from one pass over its input.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use taper_core::op::{self, Destination, Scalar, by_dtype};
use taper_kernels::buffer;
use taper_kernels::loss::{Wanted, rescale};

use crate::elements::Elements;

/// A loss before it is reduced, by its kernel and by its twin in candle's operations.
pub(crate) trait Loss: Send + Sync + 'static {
    /// The name of the operation.
    const NAME: &'static str;

    /// The sum of the weighted losses of `x`, and what else is wanted.
    fn evaluate<T: Scalar>(&self, x: &[T], wanted: Wanted<'_, T>) -> Result<f64>;

    /// The losses of the elements, without their weights. What does not count is to be
    /// [hidden](Elements::hide) in all that goes into the equation.
    fn composed(&self, x: &Tensor, elements: &Elements) -> taper_core::Result<Tensor>;
}

/// What the sum of the losses is divided by; `None` leaves each loss for itself.
pub(crate) type Divisor = Option<f64>;

/// The operation of one call.
pub(crate) struct Fused<L> {
    loss: L,
    /// As the kernels take them.
    weights: Option<Vec<f64>>,
    /// Of the losses.
    shape: Shape,
    divisor: Divisor,
    /// Whether the input has a gradient.
    wanted: bool,
    /// For an upstream of 1, from the forward pass to the first backward pass. Another one computes it again.
    gradient: Mutex<Option<CpuStorage>>,
}

impl<L: Loss> Fused<L> {
    /// The value of the loss of `x`, which has [kernels](op::has_kernels).
    pub(crate) fn apply(
        x: &Tensor,
        loss: L,
        weights: Option<Vec<f64>>,
        shape: Shape,
        divisor: Divisor,
    ) -> Result<Tensor> {
        let (wanted, gradient) = (x.track_op(), Mutex::new(None));
        x.contiguous()?.apply_op1(Self { loss, weights, shape, divisor, wanted, gradient })
    }

    /// The sum of the losses.
    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        losses: Option<&mut [T]>,
        gradient: Option<&mut [T]>,
    ) -> Result<f64> {
        let (weights, scale) = (self.weights.as_deref(), self.divisor.map_or(1.0, f64::recip));
        self.loss.evaluate(x, Wanted { weights, scale, losses, gradient })
    }

    fn forward<T: Scalar>(&self, x: &[T]) -> Result<(CpuStorage, Shape)> {
        let mut gradient = self.wanted.then(|| buffer(x.len()));
        let value = match self.divisor {
            Some(divisor) => {
                let sum = self.evaluate(x, None, gradient.as_deref_mut())?;
                (op::storage(vec![T::of(sum / divisor)]), Shape::from(()))
            }
            None => {
                let mut losses = buffer(self.shape.elem_count());
                self.evaluate(x, Some(&mut losses), gradient.as_deref_mut())?;
                (op::storage(losses), self.shape.clone())
            }
        };
        *self.saved() = gradient.map(op::storage);
        Ok(value)
    }

    fn pull<T: Scalar>(&self, x: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved().take().and_then(|mut storage| T::take(&mut storage));
        let mut gradient = match saved {
            Some(gradient) => gradient,
            None => {
                let x = op::Elements::of(x)?;
                let x = x.slice::<T>()?;
                let mut gradient = buffer(x.len());
                self.evaluate(x, None, Some(&mut gradient))?;
                gradient
            }
        };
        let upstream = upstream.contiguous()?;
        rescale(&mut gradient, op::Elements::of(&upstream)?.slice::<T>()?);
        Destination::hand_over(x, gradient)
    }

    /// A panic elsewhere leaves a gradient that is whole or none.
    fn saved(&self) -> MutexGuard<'_, Option<CpuStorage>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Loss> CustomOp1 for Fused<L> {
    fn name(&self) -> &'static str {
        L::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        by_dtype!(L::NAME, op::dtype(storage), T => {
            self.forward::<T>(op::elements(storage, layout)?)
        })
    }

    fn bwd(&self, x: &Tensor, _value: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(L::NAME, x.dtype(), T => self.pull::<T>(x, upstream))
    }
}
