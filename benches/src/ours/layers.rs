//! Single layers and losses, forward and backward.

use std::hint::black_box;

use candle_core::{DType, Error, Shape};
use candle_nn::ModuleT;
use taper_core::{Parameters, stream};
use taper_kernels::{Matrix, Update, buffer, matmul};
use taper_losses::{CrossEntropyOptions, MseOptions, Target};
use taper_norm::BatchNormConfig;

use super::CPU;
use crate::inputs::{labels, layer, loss, noise, pixels};
use crate::peer::{Failure, Work};

/// A square matrix product, into fresh memory as the others'.
pub(super) fn product(size: usize) -> Result<Work, Failure> {
    let values = |name| noise(name, (size, size))?.flatten_all()?.to_vec1::<f32>();
    let (a, b) = (values("a")?, values("b")?);
    Ok(Work::new(move || {
        let mut out = buffer::<f32>(size * size);
        let (a, b) = (Matrix::new(&a, size, size), Matrix::new(&b, size, size));
        matmul(a, b, &mut out, Update::Replace);
        black_box(out);
        Ok::<_, Error>(())
    }))
}

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
