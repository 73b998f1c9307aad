//! Losses against classes and labels.

mod asymmetric;
mod bce;
mod bce_with_logits;
mod cross_entropy;
mod focal;
mod generalized_cross_entropy;
mod multi_margin;
mod multilabel_margin;
mod nll;
mod poly1;
mod sigmoid_focal;
mod symmetric_cross_entropy;

pub use asymmetric::{AsymmetricOptions, asymmetric};
pub use bce::bce;
pub use bce_with_logits::{BceWithLogitsOptions, bce_with_logits};
pub use cross_entropy::cross_entropy;
pub use focal::{FocalOptions, focal};
pub use generalized_cross_entropy::{GeneralizedCrossEntropyOptions, generalized_cross_entropy};
pub use multi_margin::{MultiMarginOptions, multi_margin};
pub use multilabel_margin::multilabel_margin;
pub use nll::nll;
pub use poly1::{Poly1Options, poly1};
pub use sigmoid_focal::{SigmoidFocalOptions, sigmoid_focal};
pub use symmetric_cross_entropy::{SymmetricCrossEntropyOptions, symmetric_cross_entropy};
