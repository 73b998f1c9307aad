//! The tests of taper-norm that need more than one file: goldens, properties, gradients, errors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch_norm;
mod group_norm;
mod layer_norm;
mod rms_norm;
