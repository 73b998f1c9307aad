//! Data sets for Taper: the embedded digits, made-up points and sprites, seeded splits and folds, shuffled batches.
//!
//! Images stay bytes in one shared [`ImageDataset`]; a split or a fold is a list of indices into it,
//! and a batch is made into tensors when it is asked for, augmented on the way where [`BatchesConfig`] says so.
//!
//! ```
//! # fn main() -> taper_core::Result<()> {
//! use candle_core::{DType, Device};
//! use taper_data::{Batches, BatchesConfig, Pixels, digits, stratified_split};
//!
//! let digits = digits()?;
//! let split = stratified_split(digits.labels(), &digits.indices(), 0.8, &mut taper_core::stream(7, "split"))?;
//! assert_eq!((split.train.len(), split.test.len()), (1438, 359));
//!
//! let config = BatchesConfig { batch_size: 60, ..Default::default() };
//! let shuffle = taper_core::stream(7, "shuffle");
//! let mut batches = Batches::new(&digits, &split.train, config, shuffle, &Device::Cpu)?;
//! let (images, labels) = batches.next_batch()?;
//! assert_eq!((images.dims(), labels.dims()), (&[60, 64][..], &[60][..]));
//!
//! let (images, _) = digits.tensors(&split.test, Pixels::Image, DType::F32, &Device::Cpu)?;
//! assert_eq!(images.dims(), [359, 1, 8, 8]);
//! # Ok(())
//! # }
//! ```

mod augmentation;
mod batches;
mod card;
mod dataset;
mod digits;
mod disk;
mod error;
pub mod formats;
#[cfg(feature = "hub")]
mod hub;
#[cfg(feature = "images")]
mod import;
mod label_noise;
mod mixup;
mod name;
mod original;
mod points;
mod prefetch;
mod split;
mod sprites;
mod store;
mod subset;
mod variants;
#[cfg(feature = "candle-datasets")]
mod vision;

pub use augmentation::{Augmentation, centre_cropped};
pub use batches::{Batches, BatchesConfig};
pub use card::{Card, File, HubPlace, Original, Part, Unpacked, card, cards};
pub use dataset::{ImageDataset, Pixels};
pub use digits::digits;
pub use error::{Error, Result};
#[cfg(feature = "hub")]
pub use hub::{DownloadOptions, Event, Weights, download, download_weights};
#[cfg(feature = "images")]
pub use import::import;
pub use label_noise::{LabelNoise, noisy_labels};
pub use mixup::mixup;
pub use name::DataName;
pub use points::{Points, blobs, gaussian_manifold, spirals};
pub use prefetch::Prefetch;
pub use split::{Split, k_folds, split, stratified_k_folds, stratified_split};
pub use sprites::{SpriteImages, Sprites};
pub use store::{DataLock, DataStore, Files, PartRecord, Proof, ReadPart, Record, State};
pub use subset::{Imbalance, few_labels, imbalanced};
pub use variants::{Binarization, binarize, binarized, on_noise, on_patches, rotated};
