//! What becomes of a channel of the result, while it is in the cache.

use crate::activation::apply;
use crate::isa::dispatch;
use crate::matmul::Update;
use crate::{Activation, Element};

/// Bias and activation of a result, or the addition of a gradient to what is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a, T> {
    pub(crate) bias: Option<&'a [T]>,
    pub(crate) activation: Activation,
    pub(crate) update: Update,
}

impl<'a, T: Element> Target<'a, T> {
    /// f(result + bias).
    pub(crate) fn result(bias: Option<&'a [T]>, activation: Activation) -> Self {
        Self { bias, activation, update: Update::Replace }
    }

    /// A gradient.
    pub(crate) fn gradient(update: Update) -> Self {
        Self { bias: None, activation: Activation::Identity, update }
    }

    /// Whether something is to be done after the result was written or added.
    pub(crate) fn changes(&self) -> bool {
        self.bias.is_some() || self.activation != Activation::Identity
    }

    /// Adds the bias of a channel to elements of it and applies the activation.
    pub(crate) fn finish(&self, channel: usize, y: &mut [T]) {
        if !self.changes() {
            return;
        }
        if let Some(bias) = self.bias {
            let bias = bias[channel];
            dispatch!(_I => y.iter_mut().for_each(|y| *y += bias));
        }
        dispatch!(I => apply::<I, T>(self.activation, y));
    }
}
