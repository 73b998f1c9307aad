//! What the methods promise, against reference implementations and over many inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod golden;
mod pca;
mod principal_angles;
