//! Divergences between distributions.

mod distribution;
mod kl_div;

pub use distribution::Distribution;
pub use kl_div::{KlDirection, KlDivOptions, kl_div};
