//! What a run is a pure function of, and the digest that names it.

use candle_core::Device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::spec::Role;

/// The version of what a run writes down. It is part of the key: a change of form makes new runs.
pub(crate) const FORMAT: u32 = 1;

/// A run's key. The same key gives the same bytes on the same kind of processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunKey {
    /// The version of the record's form.
    pub(crate) format: u32,
    /// The experiment.
    pub(crate) experiment: String,
    /// The arm.
    pub(crate) arm: String,
    /// The seed.
    pub(crate) seed: u64,
    /// What the run is for.
    pub(crate) role: Role,
    /// The content digest of each data set, by name.
    pub(crate) data: toml::Table,
    /// The processor path: `cpu` and the instruction sets used there, or another device.
    pub(crate) device: String,
    /// The digest of Cargo.lock and the numeric crates' sources.
    pub(crate) sources: String,
    /// The arm's settings, all of them.
    pub(crate) settings: toml::Table,
}

impl RunKey {
    /// The key as TOML.
    pub(crate) fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| Error::Internal(format!("a run key as TOML: {error}")))
    }

    /// The digest that names the run, in hex.
    pub(crate) fn digest(&self) -> Result<String> {
        Ok(hex(&Sha256::digest(self.to_toml()?.as_bytes())))
    }

    /// Whether `other` is the same run made by other sources.
    pub(crate) fn differs_in_sources_only(&self, other: &Self) -> bool {
        self.sources != other.sources
            && *self == Self { sources: self.sources.clone(), ..other.clone() }
    }
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DeviceKind {
    /// The processor: results are the same to the bit within one instruction set.
    Cpu,
    /// The first CUDA device; needs a build with the feature `cuda`.
    Cuda,
    /// The first Metal device; needs a build with the feature `metal`.
    Metal,
}

impl DeviceKind {
    /// candle's device.
    pub(crate) fn open(self) -> Result<Device> {
        let opened = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda => Device::new_cuda(0),
            Self::Metal => Device::new_metal(0),
        };
        opened.map_err(|error| {
            Error::Usage(format!(
                "the device {self:?} cannot be used ({error}); choose --device cpu"
            ))
        })
    }

    /// Its part of a run's key.
    pub(crate) fn key(self) -> String {
        match self {
            // Products choose for themselves; the other kernels can be capped.
            Self::Cpu => format!("cpu {}, kernels {}", products(), taper_core::instruction_set()),
            Self::Cuda => "cuda".to_owned(),
            Self::Metal => "metal".to_owned(),
        }
    }
}

/// The widest instruction set that products of matrices use here. Results are equal to the bit within
/// one path, and within a tolerance across them.
fn products() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "x86_64+avx512f";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return "x86_64+avx2+fma";
        }
    }
    std::env::consts::ARCH
}
