//! The paper's network: sigmoid layers with or without batch normalization, a linear layer on top.

use candle_core::{DType, Module, ModuleT, Tensor};
use taper_core::{Activation, Initializer, Linear, LinearConfig, Parameters, linear};
use taper_lab::Context;
use taper_norm::{BatchNorm, BatchNormConfig, batch_norm};

use super::{Norm, Settings};

pub(super) struct Network {
    hidden: Vec<(Linear, Option<BatchNorm>)>,
    top: Linear,
}

/// What a forward pass gives.
pub(super) struct Output {
    pub(super) logits: Tensor,
    /// What goes into the last hidden layer's sigmoids, (N, units).
    pub(super) last_hidden_input: Tensor,
}

impl Network {
    pub(super) fn new(
        settings: &Settings,
        features: usize,
        classes: usize,
        parameters: &Parameters,
        context: &Context,
    ) -> taper_core::Result<Self> {
        let vb = parameters.builder(DType::F32, &context.device);
        let config = LinearConfig {
            weight_init: Initializer::Normal { mean: 0.0, std: settings.init_std },
            bias_init: Some(Initializer::Constant(0.0)),
            ..Default::default()
        };
        let mut hidden = Vec::new();
        let mut width = features;
        for (at, units) in settings.hidden.iter().enumerate() {
            let layer = linear(width, *units, config, vb.pp(format!("hidden.{at}")))?;
            let norm = match settings.norm {
                Norm::None => None,
                Norm::Batch => Some(batch_norm(
                    *units,
                    BatchNormConfig::default(),
                    vb.pp(format!("norm.{at}")),
                )?),
            };
            hidden.push((layer, norm));
            width = *units;
        }
        Ok(Self { hidden, top: linear(width, classes, config, vb.pp("top"))? })
    }

    pub(super) fn forward(&self, images: &Tensor, train: bool) -> taper_core::Result<Output> {
        let mut activation = images.clone();
        let mut input = images.clone();
        for (layer, norm) in &self.hidden {
            input = layer.forward(&activation)?;
            if let Some(norm) = norm {
                input = norm.forward_t(&input, train)?;
            }
            activation = Activation::Sigmoid.forward(&input)?;
        }
        Ok(Output { logits: self.top.forward(&activation)?, last_hidden_input: input })
    }
}
