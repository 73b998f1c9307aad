//! The classical side of deep against machine learning: PCA and its kin.
//!
//! Methods take and give a [`Matrix`] of f64, a sample a row. They use one thread and no randomness:
//! the same numbers give the same bits.

mod error;
mod matrix;
mod pca;
mod principal_angles;

pub use error::{Error, Result};
pub use matrix::Matrix;
pub use pca::{Pca, PcaConfig};
pub use principal_angles::{principal_angles, subspace_agreement};
