#![doc = include_str!("../README.md")]

mod activation;
mod clip;
mod conv2d;
mod conv_transpose2d;
mod convolution;
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
mod window;

pub use activation::Activation;
pub use clip::{clip_grad_norm, clip_grad_value};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d};
pub use conv2d::{Conv2d, Conv2dConfig, conv2d};
pub use dropout::Dropout;
pub use error::{Error, Result};
pub use gradients::{Gradient, GradientStore, Gradients};
pub use initializer::{FanMode, Initializer, Nonlinearity};
pub use linear::{Linear, LinearConfig, linear};
pub use parameters::Parameters;
pub use schedule::Schedule;
pub use state::{Snapshot, Stateful};
pub use stream::{Stream, stream};
pub use window::{Padding2d, Size2d};
