//! What the crate promises, over many inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod augmentation;
mod batches;
mod card;
mod digits;
mod formats;
mod label_noise;
mod mixup;
#[cfg(feature = "parquet")]
mod parquet;
mod points;
mod prefetch;
mod split;
mod sprites;
mod subset;
mod variants;
#[cfg(feature = "candle-datasets")]
mod vision;
