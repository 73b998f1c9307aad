//! Single layers, forward and backward.

use std::hint::black_box;

use candle_core::{DType, Error, Shape, Tensor, Var};
use candle_nn::{Module, ModuleT, VarBuilder};
use taper_core::op::{self, Destination, Elements, Operation, Scalar, Values};
use taper_core::{
    Activation, Conv2dConfig, ConvTranspose2dConfig, Parameters, conv_transpose2d, conv2d, stream,
};
use taper_kernels::{Matrix, Update, buffer, matmul};
use taper_norm::{
    BatchNormConfig, ChannelLayerNormConfig, GroupNormConfig, InstanceNormConfig, LayerNormConfig,
    LocalResponseNorm, LocalResponseNormConfig, RmsNormConfig, SpectralNormConfig,
    WeightNormConfig,
};

use super::CPU;
use crate::inputs::{IMAGES, Surroundings, layer, noise};
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
    let norm = taper_norm::batch_norm(channels, BatchNormConfig::default(), builder())?;
    Ok(layer::<Ours, _>(shape, move |x| norm.forward_t(x, true))?)
}

pub(super) fn layer_norm() -> Result<Work, Failure> {
    let norm = taper_norm::layer_norm(512, LayerNormConfig::default(), builder())?;
    Ok(layer::<Ours, _>((4096, 512), move |x| norm.forward(x))?)
}

/// With a rectifier in it, and a residual before that if it is to `add` one.
pub(super) fn batch_norm_relu(add: bool) -> Result<Work, Failure> {
    let config = BatchNormConfig { activation: Activation::Relu, ..Default::default() };
    let norm = taper_norm::batch_norm(64, config, builder())?;
    let residual = noise("residual", IMAGES)?;
    Ok(layer::<Ours, _>(IMAGES, move |x| match add {
        true => norm.forward_residual_t(x, &residual, true),
        false => norm.forward_t(x, true),
    })?)
}

pub(super) fn layer_norm_add() -> Result<Work, Failure> {
    let norm = taper_norm::layer_norm(512, LayerNormConfig::default(), builder())?;
    let residual = noise("residual", (4096, 512))?;
    Ok(layer::<Ours, _>((4096, 512), move |x| norm.forward_residual(x, &residual))?)
}

pub(super) fn rms_norm() -> Result<Work, Failure> {
    let norm = taper_norm::rms_norm(512, RmsNormConfig::default(), builder())?;
    Ok(layer::<Ours, _>((4096, 512), move |x| norm.forward(x))?)
}

pub(super) fn group_norm(activation: Activation) -> Result<Work, Failure> {
    let config = GroupNormConfig { activation, ..Default::default() };
    let norm = taper_norm::group_norm(32, 64, config, builder())?;
    Ok(layer::<Ours, _>(IMAGES, move |x| norm.forward(x))?)
}

pub(super) fn instance_norm() -> Result<Work, Failure> {
    let norm = taper_norm::instance_norm(64, InstanceNormConfig::default(), builder())?;
    Ok(layer::<Ours, _>(IMAGES, move |x| norm.forward_t(x, true))?)
}

pub(super) fn channel_layer_norm() -> Result<Work, Failure> {
    let config = ChannelLayerNormConfig::default();
    let norm = taper_norm::channel_layer_norm(64, config, builder())?;
    Ok(layer::<Ours, _>(IMAGES, move |x| norm.forward(x))?)
}

pub(super) fn local_response_norm() -> Result<Work, Failure> {
    let norm = LocalResponseNorm::new(LocalResponseNormConfig::default())?;
    Ok(layer::<Ours, _>(IMAGES, move |x| norm.forward(x))?)
}

const WEIGHT: (usize, usize, usize, usize) = (512, 512, 3, 3);

pub(super) fn spectral_norm() -> Result<Work, Failure> {
    let norm = taper_norm::spectral_norm(WEIGHT, SpectralNormConfig::default(), builder())?;
    weight(move || norm.weight(true))
}

pub(super) fn weight_norm() -> Result<Work, Failure> {
    let norm = taper_norm::weight_norm(WEIGHT, WeightNormConfig::default(), builder())?;
    weight(move || norm.weight())
}

/// The weight of a training step, and the gradient of what it is made of from a given upstream. The base is the way of
/// that through a weight that is made of nothing.
fn weight(of: impl Fn() -> taper_core::Result<Tensor> + 'static) -> Result<Work, Failure> {
    let upstream = noise("gradient", WEIGHT)?;
    let (leaf, of_leaf) = (Var::from_tensor(&noise("weight", WEIGHT)?)?, upstream.clone());
    let run = move || -> Result<(), Failure> {
        Ours::rest(&of()?, &upstream)?.backward()?;
        Ok(())
    };
    Ok(Work::new(run).over(move || Ours::rest(&leaf, &of_leaf)?.backward().map(drop)))
}

pub(super) fn convolution(
    kernel: usize,
    outputs: usize,
    padding: usize,
    stride: usize,
) -> Result<Work, Failure> {
    let config = Conv2dConfig {
        padding: padding.into(),
        stride: stride.into(),
        bias: false,
        ..Default::default()
    };
    let conv = conv2d(64, outputs, kernel, config, builder())?;
    Ok(layer::<Ours, _>(IMAGES, move |x| conv.forward(x))?)
}

/// A convolution in groups that keeps the shape of the images.
pub(super) fn grouped(
    kernel: usize,
    groups: usize,
    images: (usize, usize, usize, usize),
) -> Result<Work, Failure> {
    let padding = (kernel / 2).into();
    let config = Conv2dConfig { padding, groups, bias: false, ..Default::default() };
    let conv = conv2d(images.1, images.1, kernel, config, builder())?;
    Ok(layer::<Ours, _>(images, move |x| conv.forward(x))?)
}

pub(super) fn transposed_convolution() -> Result<Work, Failure> {
    let config = ConvTranspose2dConfig { bias: false, ..doubling() };
    let conv = conv_transpose2d(64, 32, 4, config, builder())?;
    Ok(layer::<Ours, _>((64, 64, 8, 8), move |x| conv.forward(x))?)
}

/// A transposed convolution by 4x4 that doubles the image.
pub(super) fn doubling() -> ConvTranspose2dConfig {
    ConvTranspose2dConfig { stride: 2.into(), padding: 1.into(), ..Default::default() }
}

/// A network of Taper's operations.
struct Ours;

impl Surroundings for Ours {
    fn rectifier(x: &Tensor) -> candle_core::Result<Tensor> {
        Activation::Relu.forward(x)
    }

    fn rest(y: &Tensor, gradient: &Tensor) -> candle_core::Result<Tensor> {
        op::apply(Rest(gradient.clone()), &[y], ())
    }
}

/// The rest of a network; its backward pass copies the given gradient, as if it made it.
struct Rest(Tensor);

impl Operation for Rest {
    const NAME: &'static str = "rest";

    fn forward<T: Scalar>(&self, _: &[&[T]]) -> candle_core::Result<Vec<T>> {
        Ok(vec![T::ZERO])
    }

    fn backward<T: Scalar>(
        &self,
        _: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let gradient = Elements::of(&self.0)?;
        if let [Some((place, _))] = op::places(gradients) {
            place.copy_from_slice(gradient.slice()?);
        }
        Ok(())
    }
}

fn builder() -> VarBuilder<'static> {
    Parameters::new(&stream(0, "init")).builder(DType::F32, &CPU)
}
