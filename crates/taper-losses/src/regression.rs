//! Losses of numbers against numbers.

mod huber;
mod log_cosh;
mod mae;
mod mse;

pub use huber::{HuberOptions, huber};
pub use log_cosh::log_cosh;
pub use mae::mae;
pub use mse::mse;
