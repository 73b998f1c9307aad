//! What the crate promises, over many inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod batches;
mod card;
mod digits;
mod split;
#[cfg(feature = "candle-datasets")]
mod vision;
