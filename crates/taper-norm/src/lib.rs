#![doc = include_str!("../README.md")]

mod affine;
mod arguments;
mod batch;
mod diagnostics;
mod fold;
mod norm;
mod sample;
mod weight;

pub use batch::*;
pub use diagnostics::*;
pub use fold::{fold_batch_norm, fold_conv2d, fold_linear};
pub use norm::{Norm, NormConfig, norm};
pub use sample::*;
pub use taper_core::{Error, Result};
pub use weight::*;
