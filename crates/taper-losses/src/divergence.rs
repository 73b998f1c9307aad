//! Divergences between distributions.

mod distribution;
mod gaussian_kl;
mod js_div;
mod kl_div;
mod mmd;

pub use distribution::Distribution;
pub use gaussian_kl::{Gaussian, gaussian_kl};
pub use js_div::{JsDivOptions, js_div};
pub use kl_div::{KlDirection, KlDivOptions, kl_div};
pub use mmd::{MmdBandwidth, MmdEstimator, MmdOptions, mmd};
