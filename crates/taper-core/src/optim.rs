//! Optimizers with PyTorch's arithmetic, parameter groups, and a state that can be saved.

mod adam;
mod adamw;
mod group;
mod moments;
mod sgd;

use candle_core::backprop::GradStore;

pub use adam::{Adam, AdamConfig};
pub use adamw::{AdamW, AdamWConfig};
pub use group::ParamGroup;
pub use sgd::{Sgd, SgdConfig};

use crate::{Result, Stateful};

/// Moves parameters against their gradients.
///
/// What an optimizer remembers of a parameter is saved under `state.<its name>.`, with PyTorch's
/// names after that; the learning rates of the groups are saved, too.
pub trait Optimizer: Stateful {
    /// One step. A parameter without a gradient stays as it is, and so does what is remembered of it.
    fn step(&mut self, gradients: &GradStore) -> Result<()>;

    /// The learning rate of the group with this index.
    fn learning_rate(&self, group: usize) -> Result<f64>;

    /// Sets the learning rate of the group with this index, as a schedule does before each step.
    fn set_learning_rate(&mut self, group: usize, learning_rate: f64) -> Result<()>;
}
