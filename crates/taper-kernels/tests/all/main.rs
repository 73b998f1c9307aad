//! The kernels against plain loops in f64, on random shapes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activation;
mod linear;
mod matmul;
mod norm;
mod random;
mod threads;
