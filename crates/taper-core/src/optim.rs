//! Optimizers with PyTorch's arithmetic, parameter groups, and a state that can be saved.

mod adam;
mod adamw;
mod group;
mod memory;
mod moments;
mod sgd;
mod step;

pub use adam::{Adam, AdamConfig};
pub use adamw::{AdamW, AdamWConfig};
pub use group::ParamGroup;
pub use sgd::{Sgd, SgdConfig};

use crate::{GradientStore, Result, Stateful};

/// Moves parameters against their gradients.
///
/// What an optimizer remembers of a parameter is saved under `state.<its name>.`, with PyTorch's
/// names after that; the learning rates of the groups are saved, too.
pub trait Optimizer: Stateful {
    /// One step. A parameter without a gradient stays as it is, and so does what is remembered of it.
    ///
    /// # Errors
    /// A gradient of another shape or dtype than its parameter, which changes nothing.
    fn step(&mut self, gradients: &dyn GradientStore) -> Result<()>;

    /// One step as after [`clip_grad_norm`](crate::clip_grad_norm) of this optimizer's parameters to
    /// `max_norm`, in one pass less and with the gradients left as they are; returns the norm that they have.
    ///
    /// # Errors
    /// Those of [`step`](Self::step), a negative or NaN `max_norm`, and a norm that is not finite. They change
    /// nothing.
    fn step_clipped(&mut self, gradients: &dyn GradientStore, max_norm: f64) -> Result<f64>;

    /// The learning rate of the group with this index.
    fn learning_rate(&self, group: usize) -> Result<f64>;

    /// Sets the learning rate of the group with this index, as a schedule does before each step.
    fn set_learning_rate(&mut self, group: usize, learning_rate: f64) -> Result<()>;
}
