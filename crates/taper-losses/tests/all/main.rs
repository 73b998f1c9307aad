//! The tests of taper-losses that need more than one file: goldens, properties, gradients, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backward;
mod bce_with_logits;
mod cross_entropy;
mod golden;
mod mse;
