//! The checks behind `cargo xtask`: what the tests in `tests/all` hold the repository to, and the
//! catalogue that is made from the units' cards. No tensors here: this is built before all else.

pub mod cards;
pub mod catalogue;
pub mod tidy;
