//! Losses against classes and labels.

mod bce_with_logits;
mod cross_entropy;
mod focal;
mod generalized_cross_entropy;
mod nll;
mod poly1;

pub use bce_with_logits::{BceWithLogitsOptions, bce_with_logits};
pub use cross_entropy::cross_entropy;
pub use focal::{FocalOptions, focal};
pub use generalized_cross_entropy::{GeneralizedCrossEntropyOptions, generalized_cross_entropy};
pub use nll::nll;
pub use poly1::{Poly1Options, poly1};
