#![doc = include_str!("../README.md")]

mod activation;
mod add;
mod buffer;
mod columns;
mod concat;
mod conv;
mod element;
mod isa;
mod lanes;
mod linear;
pub mod loss;
mod math;
mod matmul;
pub mod norm;
pub mod optim;
mod pool;
mod scale;
pub mod threads;
mod upsample;
mod work;

pub use activation::Activation;
pub use add::Add;
pub use buffer::buffer;
pub use concat::Concat;
pub use conv::{Axis, Convolution};
pub use element::Element;
pub use isa::name as instruction_set;
pub use linear::{Gradient, Linear};
pub use matmul::{Matrix, Update, matmul};
pub use pool::{AdaptiveAveragePool, AveragePool, MaxPool, PoolAxis};
pub use scale::Scale;
pub use upsample::{Upsample, UpsampleAxis};
