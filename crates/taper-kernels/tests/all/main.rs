//! The tests of taper-kernels that go through its public functions: each kernel against an oracle in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod norm;
