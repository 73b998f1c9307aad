#![doc = include_str!("../README.md")]

mod block;
mod count;
mod network;

pub use block::*;
pub use count::*;
pub use network::*;
pub use taper_core::{Error, Result};
