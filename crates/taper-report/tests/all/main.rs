#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod errors;
mod escaping;
mod figures;
mod fixture;
mod formats;
