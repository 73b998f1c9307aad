//! The integration tests of `taper-core`: goldens, properties, extremes, saving and restoring.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clip;
mod convolutions;
mod gradients;
mod initial_values;
mod layers;
mod operations;
mod optim;
mod parameters;
mod pooling;
mod schedule;
mod state;
mod stream;
mod upsample2d;
