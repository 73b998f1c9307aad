//! Weights by what they are made of: a layer takes the weight of each step.

mod parameters;
mod spectral_norm;
mod weight_norm;
mod weight_standardization;

pub use spectral_norm::{SpectralNorm, SpectralNormConfig, spectral_norm};
pub use weight_norm::{WeightNorm, WeightNormConfig, weight_norm};
pub use weight_standardization::{
    WeightStandardization, WeightStandardizationConfig, weight_standardization,
};
