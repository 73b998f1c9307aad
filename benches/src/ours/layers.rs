//! Single layers and losses, forward and backward.

use candle_core::{DType, Shape};
use candle_nn::ModuleT;
use taper_core::{Parameters, stream};
use taper_losses::{CrossEntropyOptions, MseOptions, Target};
use taper_norm::BatchNormConfig;

use super::CPU;
use crate::inputs::{labels, layer, loss, pixels};
use crate::peer::{Failure, Work};

pub(super) fn batch_norm(shape: impl Into<Shape>, channels: usize) -> Result<Work, Failure> {
    let vb = Parameters::new(&stream(0, "init")).builder(DType::F32, &CPU);
    let norm = taper_norm::batch_norm(channels, BatchNormConfig::default(), vb)?;
    Ok(layer(shape, move |x| norm.forward_t(x, true))?)
}

pub(super) fn cross_entropy() -> Result<Work, Failure> {
    let (labels, options) = (labels(4096, 1000)?, CrossEntropyOptions::default());
    Ok(loss((4096, 1000), move |x| {
        taper_losses::cross_entropy(x, Target::Indices(&labels), &options)
    })?)
}

pub(super) fn mse() -> Result<Work, Failure> {
    let (target, options) = (pixels("target", (256, 784))?, MseOptions::default());
    Ok(loss((256, 784), move |x| taper_losses::mse(x, &target, &options))?)
}
