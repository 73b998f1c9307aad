//! A normalization and the activation behind it.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Result, add};
use taper_norm::{Norm, NormConfig, norm};

use crate::Flow;
use crate::count::NormWith;

/// f(norm(x)), or f(norm(x) + r): the norm applies f itself if it can.
#[derive(Debug, Clone)]
pub(super) struct NormActivation {
    norm: Norm,
    activation: Activation,
    /// Whether the norm applies the activation.
    within: bool,
}

impl NormActivation {
    /// The norm's own activation gives way to `activation`.
    pub(super) fn build(
        channels: usize,
        config: NormConfig,
        activation: Activation,
        vb: VarBuilder,
    ) -> Result<Self> {
        let within = config.with_activation(activation);
        let norm = norm(channels, within.unwrap_or(config), vb)?;
        Ok(Self { norm, activation, within: within.is_some() })
    }

    pub(super) fn norm(&self) -> &Norm {
        &self.norm
    }

    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    pub(super) fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        if self.within {
            return self.norm.forward_residual_t(x, residual, train);
        }
        Ok(add(&self.norm.forward_t(x, train)?, residual, self.activation)?)
    }

    /// For a counter.
    pub(super) fn with<'a>(&'a self, residual: Option<&'a Flow>) -> NormWith<'a> {
        NormWith { norm: &self.norm, residual, activation: self.activation }
    }
}

impl ModuleT for NormActivation {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.norm.forward_t(x, train)?;
        if self.within { Ok(y) } else { self.activation.forward(&y) }
    }
}

/// Whether a convolution beside this norm has a bias: where the norm has none that would take its place.
pub(super) fn has_bias(norm: NormConfig) -> bool {
    matches!(norm, NormConfig::None | NormConfig::LocalResponse(_))
}
