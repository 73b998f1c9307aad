#![doc = include_str!("../README.md")]
// A network has some tens of layers, each made once: what a smaller variant leaves unused is nothing beside a weight.
#![allow(clippy::large_enum_variant)]

mod block;
mod count;
mod network;

pub use block::*;
pub use count::*;
pub use network::*;
pub use taper_core::{Error, Result};
