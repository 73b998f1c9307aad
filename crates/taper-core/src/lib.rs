#![doc = include_str!("../README.md")]

mod activation;
mod clip;
mod dropout;
mod error;
mod gradients;
mod initializer;
mod linear;
pub mod op;
pub mod optim;
mod parameters;
mod schedule;
mod state;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;

pub use activation::Activation;
pub use clip::{clip_grad_norm, clip_grad_value};
pub use dropout::Dropout;
pub use error::{Error, Result};
pub use gradients::{Gradient, GradientStore, Gradients};
pub use initializer::{FanMode, Initializer, Nonlinearity};
pub use linear::{Linear, LinearConfig, linear};
pub use parameters::Parameters;
pub use schedule::{Anneal, OneCycle, OneCycleConfig, Schedule};
pub use state::{Snapshot, Stateful};
pub use stream::{Stream, stream};
pub use taper_kernels::instruction_set;
