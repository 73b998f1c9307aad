//! Which normalization, as one would write it in a file.

use serde::{Deserialize, Deserializer, Serialize};
use taper_core::Activation;

use crate::{
    BatchNormConfig, BatchRenormConfig, ChannelLayerNormConfig, FrozenBatchNormConfig,
    GhostBatchNormConfig, GroupNormConfig, InstanceNormConfig, LocalResponseNormConfig,
    RmsNormConfig,
};

/// How [`norm()`](super::norm()) makes a layer: which one, and its own choices.
///
/// In a file it is a table with a `kind` and any of the layer's choices beside it; those that are not there have their
/// defaults, and a key that the kind does not have is an error:
///
/// ```
/// use taper_norm::{Momentum, NormConfig};
///
/// let config: NormConfig = toml::from_str("kind = 'group'\ngroups = 8").unwrap();
/// assert_eq!(config, NormConfig::group(8));
///
/// let batch = "kind = 'batch'\nmomentum = { decay = 0.99 }\nactivation = 'relu'";
/// let NormConfig::Batch(config) = toml::from_str(batch).unwrap() else { panic!("another kind") };
/// assert_eq!(config.momentum, Momentum::Decay(0.99));
///
/// let error = toml::from_str::<NormConfig>("kind = 'batch'\ngroups = 8").unwrap_err();
/// assert!(error.to_string().contains("unknown field `groups`"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NormConfig {
    /// No normalization: `none`.
    #[serde(deserialize_with = "nothing")]
    None,
    /// [`BatchNorm`](crate::BatchNorm): `batch`.
    Batch(BatchNormConfig),
    /// [`BatchRenorm`](crate::BatchRenorm): `batch-renorm`.
    BatchRenorm(BatchRenormConfig),
    /// [`GhostBatchNorm`](crate::GhostBatchNorm): `ghost-batch`.
    GhostBatch(GhostBatchNormConfig),
    /// [`FrozenBatchNorm`](crate::FrozenBatchNorm): `frozen-batch`.
    FrozenBatch(FrozenBatchNormConfig),
    /// [`ChannelLayerNorm`](crate::ChannelLayerNorm): `layer`.
    Layer(ChannelLayerNormConfig),
    /// [`RmsNorm`](crate::RmsNorm) over the channels: `rms`.
    Rms(RmsNormConfig),
    /// [`GroupNorm`](crate::GroupNorm): `group`.
    Group {
        /// Into how many groups the channels are cut.
        groups: usize,
        /// As in [`GroupNormConfig`], 1e-5 in a file without it.
        #[serde(default = "group_eps")]
        eps: f64,
        /// As in [`GroupNormConfig`], true in a file without it.
        #[serde(default = "group_affine")]
        affine: bool,
        /// As in [`GroupNormConfig`], the identity in a file without it.
        #[serde(default = "group_activation")]
        activation: Activation,
    },
    /// [`InstanceNorm`](crate::InstanceNorm): `instance`.
    Instance(InstanceNormConfig),
    /// [`LocalResponseNorm`](crate::LocalResponseNorm): `local-response`.
    LocalResponse(LocalResponseNormConfig),
}

impl NormConfig {
    /// Group normalization by this many groups, with its defaults.
    pub fn group(groups: usize) -> Self {
        let GroupNormConfig { eps, affine, activation } = GroupNormConfig::default();
        Self::Group { groups, eps, affine, activation }
    }

    /// The same normalization with this activation of its output; `None` for a kind that has none ([`NormConfig::None`] and
    /// [`NormConfig::LocalResponse`]).
    pub fn with_activation(mut self, activation: Activation) -> Option<Self> {
        match &mut self {
            Self::None | Self::LocalResponse(_) => return None,
            Self::Batch(config) => config.activation = activation,
            Self::BatchRenorm(config) => config.activation = activation,
            Self::GhostBatch(config) => config.norm.activation = activation,
            Self::FrozenBatch(config) => config.activation = activation,
            Self::Layer(config) => config.activation = activation,
            Self::Rms(config) => config.activation = activation,
            Self::Group { activation: own, .. } => *own = activation,
            Self::Instance(config) => config.activation = activation,
        }
        Some(self)
    }

    /// What a group normalization has beside its number of groups.
    pub(super) fn of_group(self) -> GroupNormConfig {
        match self {
            Self::Group { eps, affine, activation, .. } => {
                GroupNormConfig { eps, affine, activation }
            }
            _ => GroupNormConfig::default(),
        }
    }
}

fn group_eps() -> f64 {
    GroupNormConfig::default().eps
}

fn group_affine() -> bool {
    GroupNormConfig::default().affine
}

fn group_activation() -> Activation {
    GroupNormConfig::default().activation
}

/// No keys: serde would let any pass beside the tag of a unit variant.
fn nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    Nothing::deserialize(deserializer).map(|Nothing {}| ())
}
