//! One normalization in the place of another, with its parameters.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::{Error, Result};

use super::{Norm, NormConfig};
use crate::{
    BatchNorm, BatchNormConfig, BatchRenorm, BatchRenormConfig, ChannelLayerNorm, FrozenBatchNorm,
    GhostBatchNorm, GroupNorm, InstanceNorm, InstanceNormConfig, LocalResponseNorm, RmsNorm,
    RunningStatistics,
};

/// What norms have in common.
struct Parts {
    channels: usize,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    running: Option<RunningStatistics>,
}

impl Norm {
    /// The normalization that `config` names in the place of this one, of the same tensors: γ and β as far as both have
    /// them, whatever `affine` says, and the running statistics where both keep them. What an optimizer holds stays in
    /// use, and training one moves the other. Only to and from a frozen norm everything is copied, and its γ and β stay
    /// frozen.
    ///
    /// What this one lacks is made: a β of zeros beside a γ alone, running statistics of no batches (mean 0, variance
    /// 1). They are in nobody's [`Parameters`](taper_core::Parameters): a network that is to be saved is better built
    /// with `config` and loaded.
    ///
    /// # Errors
    /// A `config` that does not fit the channels; frozen statistics where there are none; parameters or statistics asked
    /// of [`Norm::None`] or [`Norm::LocalResponse`], which do not know their channels.
    pub fn convert(&self, config: NormConfig) -> Result<Self> {
        match config {
            NormConfig::None => return Ok(Self::None),
            NormConfig::LocalResponse(config) => {
                return Ok(Self::LocalResponse(LocalResponseNorm::new(config)?));
            }
            _ => {}
        }
        let Some(parts) = self.parts()? else {
            let expected = "`None` or `LocalResponse` (build the layer with `norm`, which is told the channels)";
            return Err(Error::argument(NAME, "config", expected, format!("{config:?}")));
        };
        parts.into_norm(config)
    }

    fn parts(&self) -> Result<Option<Parts>> {
        let (weight, bias) = (self.weight().cloned(), self.bias().cloned());
        let mut running = self.running_statistics().cloned();
        let channels = match self {
            Self::None | Self::LocalResponse(_) => return Ok(None),
            Self::Batch(norm) => norm.num_features(),
            Self::BatchRenorm(norm) => norm.running_statistics().mean.elem_count(),
            Self::GhostBatch(norm) => norm.norm().num_features(),
            Self::FrozenBatch(norm) => {
                let mean = norm.running_mean();
                running = Some(RunningStatistics {
                    mean: Var::from_tensor(mean)?,
                    variance: Var::from_tensor(norm.running_var())?,
                    num_batches_tracked: Var::zeros((), DType::I64, mean.device())?,
                });
                mean.elem_count()
            }
            Self::Layer(norm) => norm.num_channels(),
            Self::Rms(norm) => norm.normalized_shape().elem_count(),
            Self::Group(norm) => norm.num_channels(),
            Self::Instance(norm) => norm.num_features(),
        };
        Ok(Some(Parts { channels, weight, bias, running }))
    }
}

impl Parts {
    fn into_norm(self, config: NormConfig) -> Result<Norm> {
        let channels = self.channels;
        Ok(match config {
            NormConfig::None => Norm::None,
            NormConfig::LocalResponse(config) => {
                Norm::LocalResponse(LocalResponseNorm::new(config)?)
            }
            NormConfig::Batch(config) => Norm::Batch(self.batch(config)?),
            NormConfig::GhostBatch(config) => {
                let norm = self.batch(config.norm)?;
                Norm::GhostBatch(GhostBatchNorm::new(norm, config.virtual_batch_size)?)
            }
            NormConfig::BatchRenorm(config) => {
                let affine = self.affine()?;
                let config = BatchRenormConfig { affine: affine.is_some(), ..config };
                Norm::BatchRenorm(BatchRenorm::new(affine, self.statistics()?, config)?)
            }
            NormConfig::FrozenBatch(config) => {
                let Some(running) = &self.running else {
                    let expected = "of a norm with running statistics";
                    return Err(Error::argument(
                        NAME,
                        "config",
                        expected,
                        "`FrozenBatch` of one without",
                    ));
                };
                let mean = running.mean.as_detached_tensor().copy()?;
                let affine = match self.affine()? {
                    Some((weight, bias)) => (weight.copy()?, bias.copy()?),
                    None => (mean.ones_like()?, mean.zeros_like()?),
                };
                let variance = running.variance.as_detached_tensor().copy()?;
                Norm::FrozenBatch(FrozenBatchNorm::new(affine, (mean, variance), config)?)
            }
            NormConfig::Layer(config) => {
                Norm::Layer(ChannelLayerNorm::new(channels, self.affine()?, config)?)
            }
            NormConfig::Rms(config) => Norm::Rms(RmsNorm::new(channels, self.weight, config)?),
            NormConfig::Group { groups, .. } => {
                Norm::Group(GroupNorm::new(groups, channels, self.affine()?, config.of_group())?)
            }
            NormConfig::Instance(config) => {
                let affine = self.affine()?;
                let config = InstanceNormConfig { affine: affine.is_some(), ..config };
                let running = config.track_running_stats.then(|| self.statistics()).transpose()?;
                Norm::Instance(InstanceNorm::new(channels, affine, running, config)?)
            }
        })
    }

    fn batch(self, config: BatchNormConfig) -> Result<BatchNorm> {
        let affine = self.affine()?;
        let config = BatchNormConfig { affine: affine.is_some(), ..config };
        let running = config.track_running_stats.then(|| self.statistics()).transpose()?;
        BatchNorm::new(self.channels, affine, running, config)
    }

    /// γ and β, of which the second may be made.
    fn affine(&self) -> Result<Option<(Tensor, Tensor)>> {
        let Some(weight) = self.weight.clone() else {
            return Ok(None);
        };
        let bias = match &self.bias {
            Some(bias) => bias.clone(),
            None => weight.zeros_like()?,
        };
        Ok(Some((weight, bias)))
    }

    fn statistics(&self) -> Result<RunningStatistics> {
        if let Some(running) = &self.running {
            return Ok(running.clone());
        }
        let like = self.weight.as_ref();
        let (dtype, device) =
            like.map_or((DType::F32, Device::Cpu), |it| (it.dtype(), it.device().clone()));
        Ok(RunningStatistics {
            mean: Var::zeros(self.channels, dtype, &device)?,
            variance: Var::ones(self.channels, dtype, &device)?,
            num_batches_tracked: Var::zeros((), DType::I64, &device)?,
        })
    }
}

const NAME: &str = "Norm::convert";
