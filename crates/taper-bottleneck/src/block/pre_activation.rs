//! What pre-activation blocks share: a norm and an activation before a convolution.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Conv2d, Conv2dConfig, Initializer, Result, Size2d, conv2d};
use taper_norm::NormConfig;

use super::HE;
use super::norm_activation::{NormActivation, has_bias};
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
    norm: NormActivation,
    conv: Conv2d,
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
        let kernel = Size2d::from(kernel);
        let conv = conv2d(inputs, outputs, kernel, conv, vb.pp(format!("conv{at}")))?;
        let vb = vb.pp(format!("norm{at}"));
        Ok(Self { norm: NormActivation::build(inputs, config.norm, activation, vb)?, conv })
    }

    /// f(norm(x)), which the shortcut of a block that changes the shape takes, too.
    pub(super) fn activated(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.norm.forward_t(x, train)
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
        counter.layer(&format!("norm{at}"), &self.norm.with(None), x)
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
