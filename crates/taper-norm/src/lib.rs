//! Normalization layers for candle with right gradients and explicit state.
//!
//! Whether a layer trains or evaluates is said in the call ([`candle_nn::ModuleT::forward_t`]). What it
//! remembers are variables under PyTorch's names, which the forward pass detaches: they are state, and
//! [`taper_core::Parameters::trainable`] leaves them out.
//!
//! Beside the layers stand measurements of what they do to training, on any model: [`Drift`], [`covariate_shift`],
//! [`landscape`], [`gradient_norms`].

mod arguments;
mod batch;
mod diagnostics;
mod sample;

pub use batch::*;
pub use diagnostics::*;
pub use sample::*;
pub use taper_core::{Error, Result};
