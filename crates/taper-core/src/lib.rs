#![doc = include_str!("../README.md")]

mod activation;
mod adaptive_avg_pool2d;
mod avg_pool2d;
mod clip;
mod conv2d;
mod conv_transpose2d;
mod convolution;
mod dropout;
mod error;
mod gradients;
mod initializer;
mod linear;
mod max_pool2d;
pub mod op;
pub mod optim;
mod parameters;
mod planes;
mod schedule;
mod state;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;
mod upsample2d;
mod window;

pub use activation::Activation;
pub use adaptive_avg_pool2d::AdaptiveAvgPool2d;
pub use avg_pool2d::{AvgPool2d, AvgPool2dConfig};
pub use clip::{clip_grad_norm, clip_grad_value};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d};
pub use conv2d::{Conv2d, Conv2dConfig, conv2d};
pub use dropout::Dropout;
pub use error::{Error, Result};
pub use gradients::{Gradient, GradientStore, Gradients};
pub use initializer::{FanMode, Initializer, Nonlinearity};
pub use linear::{Linear, LinearConfig, linear};
pub use max_pool2d::{MaxPool2d, MaxPool2dConfig};
pub use parameters::Parameters;
pub use schedule::{Anneal, OneCycle, OneCycleConfig, Schedule};
pub use state::{Snapshot, Stateful};
pub use stream::{Stream, stream};
pub use taper_kernels::instruction_set;
pub use upsample2d::{Upsample2d, UpsampleMode, UpsampleTo};
pub use window::{Padding2d, Size2d};
mod stub;
pub use stub::*;
