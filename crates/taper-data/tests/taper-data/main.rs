//! What the crate promises, over many inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod augmentation;
mod batches;
mod card;
mod digits;
mod formats;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "images")]
mod import;
mod label_noise;
mod mixup;
#[cfg(feature = "images")]
mod parquet;
mod points;
mod prefetch;
#[cfg(feature = "hub")]
mod server;
mod split;
mod sprites;
mod store;
mod subset;
mod variants;
#[cfg(feature = "candle-datasets")]
mod vision;
#[cfg(feature = "hub")]
mod weights;
