//! Statistics of each sample by itself.

mod layer_norm;
mod local_response_norm;

pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
pub use local_response_norm::{LocalResponseNorm, LocalResponseNormConfig};
