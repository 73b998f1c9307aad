//! Where a residual branch meets what goes around it.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Result, add};

use crate::{
    ConvNorm, ConvNormConfig, Counter, Flow, SqueezeExcite, SqueezeExciteConfig, conv_norm,
    squeeze_excite,
};

/// The last convolution and norm of a branch, a gate if there is one, the sum, and its activation.
#[derive(Debug, Clone)]
pub(super) struct BranchEnd {
    last: ConvNorm,
    /// With the activation behind the sum, which `last` then leaves to it.
    gate: Option<(SqueezeExcite, Activation)>,
}

impl BranchEnd {
    /// `kernel` and `config` are those of the convolution; the builders those of it, its norm and the gate.
    pub(super) fn build(
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        config: ConvNormConfig,
        gate: Option<SqueezeExciteConfig>,
        [conv, norm, se]: [VarBuilder; 3],
    ) -> Result<Self> {
        let gate = match gate {
            Some(gate) => Some((squeeze_excite(outputs, gate, se)?, config.activation)),
            None => None,
        };
        let activation = if gate.is_some() { Activation::Identity } else { config.activation };
        let config = ConvNormConfig { activation, ..config };
        Ok(Self { last: conv_norm(inputs, outputs, kernel, config, conv, norm)?, gate })
    }

    pub(super) fn forward_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        match &self.gate {
            None => self.last.forward_residual_t(x, residual, train),
            Some((gate, activation)) => {
                let y = gate.forward(&self.last.forward_t(x, train)?)?;
                Ok(add(&y, residual, *activation)?)
            }
        }
    }

    /// Counts convolution and norm under these names, and the gate as `se`.
    pub(super) fn count_as(
        &self,
        names: [&str; 2],
        x: &Flow,
        residual: &Flow,
        counter: &mut Counter,
    ) -> Result<Flow> {
        match &self.gate {
            None => self.last.count_as(names, x, Some(residual), counter),
            Some((gate, activation)) => {
                let y = self.last.count_as(names, x, None, counter)?;
                let y = counter.layer("se", gate, &y)?;
                counter.sum(&y, Some(residual), *activation)
            }
        }
    }
}
