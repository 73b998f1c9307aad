//! What the crate promises, over many inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod batches;
mod card;
mod digits;
mod formats;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "images")]
mod import;
mod label_noise;
#[cfg(feature = "images")]
mod parquet;
mod points;
#[cfg(feature = "hub")]
mod server;
mod split;
mod store;
mod subset;
mod variants;
#[cfg(feature = "candle-datasets")]
mod vision;
