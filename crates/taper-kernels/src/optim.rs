//! Steps of optimizers, each one in-place pass over a parameter, its gradient and what is remembered of it;
//! and what clipping needs.

mod adam;
mod clip;
mod sgd;
mod tensors;

pub use adam::Adam;
pub use clip::{clamp, scale, sum_of_squares};
pub use sgd::{Momentum, Sgd};
pub use tensors::for_each;

#[cfg(test)]
mod tests;
