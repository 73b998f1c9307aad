//! Parallel, vectorised loops of deep learning over slices.

mod activation;
mod buffer;
mod columns;
mod element;
mod isa;
mod lanes;
mod linear;
mod math;
mod matmul;
pub mod norm;
pub mod threads;
mod work;

pub use activation::Activation;
pub use buffer::buffer;
pub use element::Element;
pub use isa::name as instruction_set;
pub use linear::{Gradient, Linear};
pub use matmul::{Matrix, Update, matmul};
