//! A loss as one differentiable operation: value and gradient from one pass over its input.

use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{CpuStorage, Result, Shape, Tensor};
use taper_core::op::{self, Destination, Operation, Scalar, Values};
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
        let result = if divisor.is_some() { Shape::from(()) } else { shape.clone() };
        op::apply(Self { loss, weights, shape, divisor, wanted, gradient }, &[x], result)
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

    /// A panic elsewhere leaves a gradient that is whole or none.
    fn saved(&self) -> MutexGuard<'_, Option<CpuStorage>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Loss> Operation for Fused<L> {
    const NAME: &'static str = L::NAME;

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> Result<Vec<T>> {
        let x = arguments[0];
        let mut gradient = self.wanted.then(|| buffer(x.len()));
        let value = match self.divisor {
            Some(divisor) => {
                let sum = self.evaluate(x, None, gradient.as_deref_mut())?;
                vec![T::of(sum / divisor)]
            }
            None => {
                let mut losses = buffer(self.shape.elem_count());
                self.evaluate(x, Some(&mut losses), gradient.as_deref_mut())?;
                losses
            }
        };
        *self.saved() = gradient.map(op::storage);
        Ok(value)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> Result<()> {
        let saved = self.saved().take().and_then(|mut storage| T::take(&mut storage));
        let mut gradient = match saved {
            Some(gradient) => gradient,
            None => {
                let x = values.arguments[0];
                let mut gradient = buffer(x.len());
                self.evaluate(x, None, Some(&mut gradient))?;
                gradient
            }
        };
        rescale(&mut gradient, values.upstream);
        if let [of_x] = gradients {
            of_x.hand_over(gradient);
        }
        Ok(())
    }
}
