//! What pre-activation blocks share: a norm and an activation before a convolution.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Conv2d, Conv2dConfig, Initializer, Result, Size2d, conv2d};
use taper_norm::{Norm, NormConfig, norm};

use super::HE;
use crate::count::NormWith;
use crate::{Counter, Flow};

/// How a stage is made; the norm's own activation gives way to `activation`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreActivationConfig {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
    pub(super) dilation: usize,
    pub(super) norm: NormConfig,
    pub(super) activation: Activation,
    /// Whether the convolution begins as 0.
    pub(super) zero_init: bool,
}

/// A norm, an activation and a convolution: W ⋆ f(norm(x)).
#[derive(Debug, Clone)]
pub(super) struct PreActivation {
    norm: Norm,
    activation: Activation,
    /// Whether the norm applies the activation.
    within: bool,
    conv: Conv2d,
}

/// Whether convolutions have a bias: where the norm has none that would take its place.
pub(super) fn has_bias(norm: NormConfig) -> bool {
    matches!(norm, NormConfig::None | NormConfig::LocalResponse(_))
}

impl PreActivation {
    /// From the first to the second number of channels, with the parameters of `norm{at}` and `conv{at}`.
    pub(super) fn build(
        [inputs, outputs]: [usize; 2],
        config: PreActivationConfig,
        at: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let PreActivationConfig { kernel, stride, groups, dilation, activation, zero_init, .. } =
            config;
        let zero = Initializer::Constant(0.0);
        let conv = Conv2dConfig {
            stride: stride.into(),
            padding: (dilation * (kernel / 2)).into(),
            dilation: dilation.into(),
            groups,
            bias: has_bias(config.norm),
            weight_init: if zero_init { zero } else { HE },
            bias_init: zero_init.then_some(zero),
            activation: Activation::Identity,
        };
        let within = config.norm.with_activation(activation);
        let kernel = Size2d::from(kernel);
        let conv = conv2d(inputs, outputs, kernel, conv, vb.pp(format!("conv{at}")))?;
        let by = within.unwrap_or(config.norm);
        let norm = norm(inputs, by, vb.pp(format!("norm{at}")))?;
        Ok(Self { norm, activation, within: within.is_some(), conv })
    }

    /// f(norm(x)), which the shortcut of a block that changes the shape takes, too.
    pub(super) fn activated(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = self.norm.forward_t(x, train)?;
        if self.within { Ok(y) } else { self.activation.forward(&y) }
    }

    /// The convolution of what is activated.
    pub(super) fn convolved(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.conv.forward(x)
    }

    pub(super) fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.convolved(&self.activated(x, train)?)
    }

    pub(super) fn count_activated(
        &self,
        at: usize,
        x: &Flow,
        counter: &mut Counter,
    ) -> Result<Flow> {
        let with = NormWith { norm: &self.norm, residual: None, activation: self.activation };
        counter.layer(&format!("norm{at}"), &with, x)
    }

    pub(super) fn count_convolved(
        &self,
        at: usize,
        x: &Flow,
        counter: &mut Counter,
    ) -> Result<Flow> {
        counter.layer(&format!("conv{at}"), &self.conv, x)
    }

    pub(super) fn count(&self, at: usize, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let x = self.count_activated(at, x, counter)?;
        self.count_convolved(at, &x, counter)
    }
}
