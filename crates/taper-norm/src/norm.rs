//! One choice among the normalizations of activations.

mod config;
mod convert;

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Result, add};

pub use config::NormConfig;

use crate::arguments::{expect_channels, expect_like_x};
use crate::{
    BatchNorm, BatchRenorm, ChannelLayerNorm, FrozenBatchNorm, GhostBatchNorm, GroupNorm,
    InstanceNorm, LocalResponseNorm, RmsNorm, RunningStatistics, batch_norm, batch_renorm,
    channel_layer_norm, frozen_batch_norm, ghost_batch_norm, group_norm, instance_norm, rms_norm,
};

/// The normalization that `config` names, of `num_channels` channels and `vb`'s entries; see [`Norm`].
pub fn norm(num_channels: usize, config: NormConfig, vb: VarBuilder) -> Result<Norm> {
    Ok(match config {
        NormConfig::None => Norm::None,
        NormConfig::Batch(config) => Norm::Batch(batch_norm(num_channels, config, vb)?),
        NormConfig::BatchRenorm(config) => {
            Norm::BatchRenorm(batch_renorm(num_channels, config, vb)?)
        }
        NormConfig::GhostBatch(config) => {
            Norm::GhostBatch(ghost_batch_norm(num_channels, config, vb)?)
        }
        NormConfig::FrozenBatch(config) => {
            Norm::FrozenBatch(frozen_batch_norm(num_channels, config, vb)?)
        }
        NormConfig::Layer(config) => Norm::Layer(channel_layer_norm(num_channels, config, vb)?),
        NormConfig::Rms(config) => Norm::Rms(rms_norm(num_channels, config, vb)?),
        NormConfig::Group { groups, .. } => {
            Norm::Group(group_norm(groups, num_channels, config.of_group(), vb)?)
        }
        NormConfig::Instance(config) => Norm::Instance(instance_norm(num_channels, config, vb)?),
        NormConfig::LocalResponse(config) => Norm::LocalResponse(LocalResponseNorm::new(config)?),
    })
}

/// A normalization of activations, whichever it is: what a network holds whose norm is a choice.
///
/// # Equation
/// y = norm(x), or f(norm(x) + r) with the residual and activation of the kind that [`NormConfig`] names.
///
/// # Shapes
/// x (N, C) with up to 3 more axes for every kind, r and y the same; [`Norm::Instance`] needs one of them in training.
/// [`Norm::Layer`] and [`Norm::Rms`] are over the channels of each place, so that on (N, C) they are
/// [`LayerNorm`](crate::LayerNorm) and [`RmsNorm`] over the last axis.
///
/// # Parameters
/// Those of [`NormConfig`], which reads from a file as `kind = "group", groups = 8`. [`norm()`] takes the names of
/// state from the layer of the kind.
///
/// # Numerics
/// Those of the layer. [`Norm::Rms`] with places moves the channels to the end and back, which costs two copies.
///
/// # Deviations
/// 1. Layer normalization as Wu and He compare it, over the channels and places of a sample at once, is
///    [`Norm::Group`] of one group.
/// 2. [`NoisyBatchNorm`](crate::NoisyBatchNorm) is no kind: it takes a stream in the call. Normalizations of weights
///    are none either: they stand elsewhere in a network.
///
/// # Errors
/// Those of the layer.
///
/// # References
/// - Wu and He 2018, Group normalization, figure 2, <https://arxiv.org/abs/1803.08494>, for what the kinds
///   average over.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{BatchNormConfig, Norm, NormConfig, norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let batch = norm(4, NormConfig::Batch(BatchNormConfig::default()), vb)?;
///
/// // The same parameters in another normalization: means 3 and 4, standard deviations 2 and 3.
/// let group = batch.convert(NormConfig::group(2))?;
/// assert!(matches!(group, Norm::Group(_)));
/// let x = Tensor::new(&[[1.0, 5.0, 7.0, 1.0]], &Device::Cpu)?;
/// let y = group.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, expected)| (y - expected).abs() < 1e-5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Norm {
    /// y = x.
    None,
    /// By the statistics of a channel over the batch.
    Batch(BatchNorm),
    /// By those, corrected towards the running ones.
    BatchRenorm(BatchRenorm),
    /// By those of parts of the batch.
    GhostBatch(GhostBatchNorm),
    /// By running statistics that do not change.
    FrozenBatch(FrozenBatchNorm),
    /// By the statistics of the channels at a place.
    Layer(ChannelLayerNorm),
    /// By the root mean square of the channels at a place.
    Rms(RmsNorm),
    /// By the statistics of a group of a sample's channels.
    Group(GroupNorm),
    /// By those of one channel of a sample.
    Instance(InstanceNorm),
    /// By the squares of neighbouring channels.
    LocalResponse(LocalResponseNorm),
}

impl Norm {
    /// γ, (C).
    pub fn weight(&self) -> Option<&Tensor> {
        match self {
            Self::None | Self::LocalResponse(_) => None,
            Self::Batch(norm) => norm.weight(),
            Self::BatchRenorm(norm) => norm.weight(),
            Self::GhostBatch(norm) => norm.norm().weight(),
            Self::FrozenBatch(norm) => Some(norm.weight()),
            Self::Layer(norm) => norm.weight(),
            Self::Rms(norm) => norm.weight(),
            Self::Group(norm) => norm.weight(),
            Self::Instance(norm) => norm.weight(),
        }
    }

    /// β, (C).
    pub fn bias(&self) -> Option<&Tensor> {
        match self {
            Self::None | Self::LocalResponse(_) | Self::Rms(_) => None,
            Self::Batch(norm) => norm.bias(),
            Self::BatchRenorm(norm) => norm.bias(),
            Self::GhostBatch(norm) => norm.norm().bias(),
            Self::FrozenBatch(norm) => Some(norm.bias()),
            Self::Layer(norm) => norm.bias(),
            Self::Group(norm) => norm.bias(),
            Self::Instance(norm) => norm.bias(),
        }
    }

    /// What the layer remembers of its batches, where it moves that in training.
    pub fn running_statistics(&self) -> Option<&RunningStatistics> {
        match self {
            Self::Batch(norm) => norm.running_statistics(),
            Self::BatchRenorm(norm) => Some(norm.running_statistics()),
            Self::GhostBatch(norm) => norm.norm().running_statistics(),
            Self::Instance(norm) => norm.running_statistics(),
            Self::None
            | Self::FrozenBatch(_)
            | Self::Layer(_)
            | Self::Rms(_)
            | Self::Group(_)
            | Self::LocalResponse(_) => None,
        }
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        match self {
            Self::None => {
                expect_like_x("Norm::forward_residual_t", "residual", residual, x)?;
                Ok(add(x, residual, Activation::Identity)?)
            }
            Self::Batch(norm) => norm.forward_residual_t(x, residual, train),
            Self::BatchRenorm(norm) => norm.forward_residual_t(x, residual, train),
            Self::GhostBatch(norm) => norm.forward_residual_t(x, residual, train),
            Self::FrozenBatch(norm) => norm.forward_residual(x, residual),
            Self::Layer(norm) => norm.forward_residual(x, residual),
            Self::Rms(norm) => {
                expect_like_x("Norm::forward_residual_t", "residual", residual, x)?;
                let residual = channels_last(residual)?;
                over_channels(norm, x, |x| norm.forward_residual(x, &residual))
            }
            Self::Group(norm) => norm.forward_residual(x, residual),
            Self::Instance(norm) => norm.forward_residual_t(x, residual, train),
            Self::LocalResponse(norm) => {
                expect_like_x("Norm::forward_residual_t", "residual", residual, x)?;
                Ok(add(&norm.forward(x)?, residual, Activation::Identity)?)
            }
        }
    }
}

impl ModuleT for Norm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        match self {
            Self::None => Ok(x.clone()),
            Self::Batch(norm) => norm.forward_t(x, train),
            Self::BatchRenorm(norm) => norm.forward_t(x, train),
            Self::GhostBatch(norm) => norm.forward_t(x, train),
            Self::FrozenBatch(norm) => norm.forward(x),
            Self::Layer(norm) => norm.forward(x),
            Self::Rms(norm) => over_channels(norm, x, |x| norm.forward(x)),
            Self::Group(norm) => norm.forward(x),
            Self::Instance(norm) => norm.forward_t(x, train),
            Self::LocalResponse(norm) => norm.forward(x),
        }
    }
}

/// `forward` of x with its channels as the last axis.
fn over_channels(
    norm: &RmsNorm,
    x: &Tensor,
    forward: impl FnOnce(&Tensor) -> candle_core::Result<Tensor>,
) -> candle_core::Result<Tensor> {
    expect_channels("Norm::forward_t", x, norm.normalized_shape().elem_count())?;
    let y = forward(&channels_last(x)?)?;
    let mut back: Vec<usize> = (0..x.rank() - 1).collect();
    back.insert(1, x.rank() - 1);
    y.permute(back)
}

/// x (N, C, places...) as (N, places..., C).
fn channels_last(x: &Tensor) -> candle_core::Result<Tensor> {
    let mut axes: Vec<usize> = (0..x.rank()).collect();
    if axes.len() > 2 {
        let channels = axes.remove(1);
        axes.push(channels);
    }
    x.permute(axes)
}
