//! Statistics of each sample by itself.

mod layer_norm;

pub use layer_norm::{LayerNorm, LayerNormConfig, layer_norm};
