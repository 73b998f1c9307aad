//! Normalization layers for candle with right gradients and explicit state.
//!
//! Whether a layer trains or evaluates is said in the call ([`candle_nn::ModuleT::forward_t`]). What it
//! remembers are variables under PyTorch's names, which the forward pass detaches: they are state, and
//! [`taper_core::Parameters::trainable`] leaves them out.

mod batch_norm;
mod layer_norm;

pub use batch_norm::{
    BatchNorm, BatchNormConfig, Momentum, RunningStatistics, Variance, batch_norm,
};
pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
