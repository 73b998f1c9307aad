//! Normalization layers for candle with right gradients and explicit state.
//!
//! Whether a layer trains or evaluates is said in the call ([`candle_nn::ModuleT::forward_t`]). What it
//! remembers are variables under PyTorch's names, which the forward pass detaches: they are state, and
//! [`taper_core::Parameters::trainable`] leaves them out.

mod arguments;
mod batch;
mod fold;
mod sample;

pub use batch::*;
pub use fold::{fold_batch_norm, fold_conv2d, fold_linear};
pub use sample::*;
pub use taper_core::{Error, Result};
