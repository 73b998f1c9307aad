//! The kernels against plain loops in f64, on random shapes.

mod activation;
mod linear;
mod matmul;
mod random;
mod threads;
