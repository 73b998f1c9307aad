//! Losses against classes and labels.

mod bce_with_logits;
mod cross_entropy;
mod focal;

pub use bce_with_logits::{BceWithLogitsOptions, bce_with_logits};
pub use cross_entropy::cross_entropy;
pub use focal::{FocalOptions, focal};
