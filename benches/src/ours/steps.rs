//! Whole training steps, and the optimizer's alone.

use candle_core::{DType, Module, Tensor, Var};
use candle_nn::{ModuleT, VarBuilder};
use taper_bottleneck::{
    BasicBlockConfig, BottleneckConfig, InvertedResidualConfig, ResNetConfig, ResNetStem, resnet,
};
use taper_core::optim::{AdamW, Optimizer};
use taper_core::{
    Activation, Conv2dConfig, ConvTranspose2dConfig, Gradients, LinearConfig, Parameters, Result,
    conv_transpose2d, conv2d, linear, stream,
};
use taper_losses::{ClassOptions, LossOptions, Target, cross_entropy, mse};
use taper_norm::{BatchNormConfig, batch_norm};

use super::layers::doubling;
use super::{ADAMW, CPU};
use crate::inputs::{WIDTHS, labels, noise, pixels};
use crate::peer::{Work, hold};

/// Steps of AdamW on the parameters, down the gradient of `loss`.
fn training(parameters: &Parameters, loss: impl Fn() -> Result<Tensor> + 'static) -> Result<Work> {
    hold();
    let trainable = parameters.trainable();
    let mut gradients = Gradients::new(trainable.iter().map(|(_, variable)| variable))?;
    let mut optimizer = AdamW::new(trainable, ADAMW)?;
    Ok(Work::new(move || {
        gradients.backward(&loss()?)?;
        optimizer.step(&gradients)
    }))
}

fn parameters() -> Parameters {
    Parameters::new(&stream(0, "init"))
}

/// 784-512-512-10 with batch normalization and ReLU, and cross-entropy.
pub(super) fn mlp(batch: usize) -> Result<Work> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F32, &CPU);
    let mut hidden = Vec::new();
    for (at, inputs) in [(1, 784), (2, 512)] {
        let layer = linear(inputs, 512, LinearConfig::default(), vb.pp(format!("fc{at}")))?;
        let config = BatchNormConfig { activation: Activation::Relu, ..Default::default() };
        let norm = batch_norm(512, config, vb.pp(format!("bn{at}")))?;
        hidden.push((layer, norm));
    }
    let output = linear(512, 10, LinearConfig::default(), vb.pp("fc3"))?;
    let (images, labels) = (pixels("images", (batch, 784))?, labels(batch, 10)?);
    let options = ClassOptions::default();
    training(&parameters, move || {
        let mut x = images.clone();
        for (layer, norm) in &hidden {
            x = norm.forward_t(&layer.forward(&x)?, true)?;
        }
        cross_entropy(&output.forward(&x)?, Target::Indices(&labels), &options)
    })
}

/// 784-1000-500-250-30 and back, with ReLU but for the code and the pixels, and the squared error.
pub(super) fn deep_autoencoder(batch: usize) -> Result<Work> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F32, &CPU);
    let mut layers = Vec::new();
    for (at, widths) in WIDTHS.windows(2).enumerate() {
        let activation = match at {
            3 => Activation::Identity,
            7 => Activation::Sigmoid,
            _ => Activation::Relu,
        };
        let config = LinearConfig { activation, ..Default::default() };
        layers.push(linear(widths[0], widths[1], config, vb.pp(format!("fc{at}")))?);
    }
    let images = pixels("images", (batch, 784))?;
    let options = LossOptions::default();
    training(&parameters, move || {
        let mut x = images.clone();
        for layer in &layers {
            x = layer.forward(&x)?;
        }
        mse(&x, &images, &options)
    })
}

/// 1-16-32 channels down to 7x7 and back, with ReLU but for the pixels, and the squared error.
pub(super) fn convolutional_autoencoder(batch: usize) -> Result<Work> {
    let parameters = parameters();
    let vb = parameters.builder(DType::F32, &CPU);
    let activation = Activation::Relu;
    let halving =
        Conv2dConfig { stride: 2.into(), padding: 1.into(), activation, ..Default::default() };
    let down =
        [conv2d(1, 16, 3, halving, vb.pp("down1"))?, conv2d(16, 32, 3, halving, vb.pp("down2"))?];
    let up = [(32, 16, activation), (16, 1, Activation::Sigmoid)];
    let up = up.map(|(inputs, outputs, activation)| {
        let config = ConvTranspose2dConfig { activation, ..doubling() };
        conv_transpose2d(inputs, outputs, 4, config, vb.pp(format!("up{inputs}")))
    });
    let up: Vec<_> = up.into_iter().collect::<Result<_>>()?;
    let images = pixels("images", (batch, 1, 28, 28))?;
    let options = LossOptions::default();
    training(&parameters, move || {
        let mut x = images.clone();
        for conv in &down {
            x = conv.forward(&x)?;
        }
        for conv in &up {
            x = conv.forward(&x)?;
        }
        mse(&x, &images, &options)
    })
}

/// A block and the mean of the squares. The input has a gradient, as inside a network.
fn block<M: ModuleT + 'static>(
    shape: (usize, usize, usize, usize),
    build: impl FnOnce(VarBuilder) -> Result<M>,
) -> Result<Work> {
    let parameters = parameters();
    let block = build(parameters.builder(DType::F32, &CPU))?;
    let input = Var::from_tensor(&noise("input", shape)?)?;
    let (zeros, options) = (input.zeros_like()?, LossOptions::default());
    training(&parameters, move || mse(&block.forward_t(&input, true)?, &zeros, &options))
}

/// 256-64-64-256 channels by 1x1, 3x3 and 1x1.
pub(super) fn bottleneck(batch: usize) -> Result<Work> {
    let config = BottleneckConfig::default();
    block((batch, 256, 16, 16), |vb| taper_bottleneck::bottleneck(256, 256, config, vb))
}

/// Two convolutions of 64 channels by 3x3.
pub(super) fn basic_block(batch: usize) -> Result<Work> {
    let config = BasicBlockConfig::default();
    block((batch, 64, 16, 16), |vb| taper_bottleneck::basic_block(64, 64, config, vb))
}

/// 24-144-144-24 channels by 1x1, 3x3 of each channel by itself, and 1x1.
pub(super) fn inverted_residual(batch: usize) -> Result<Work> {
    let config = InvertedResidualConfig::default();
    block((batch, 24, 16, 16), |vb| taper_bottleneck::inverted_residual(24, 24, config, vb))
}

/// ResNet-18 as it is for images of 32x32, and cross-entropy.
pub(super) fn resnet18(batch: usize) -> Result<Work> {
    let parameters = parameters();
    let stem = ResNetStem::Small;
    let config = ResNetConfig { stem, num_classes: 10, ..ResNetConfig::resnet18() };
    let network = resnet(config, parameters.builder(DType::F32, &CPU))?;
    let (images, labels) = (pixels("images", (batch, 3, 32, 32))?, labels(batch, 10)?);
    let options = ClassOptions::default();
    training(&parameters, move || {
        cross_entropy(&network.forward_t(&images, true)?, Target::Indices(&labels), &options)
    })
}

/// The step alone, on three parameters of a million numbers each.
pub(super) fn adamw() -> Result<Work> {
    let mut parameters = Vec::new();
    let mut loss = Tensor::new(0f32, &CPU)?;
    for name in ["a", "b", "c"] {
        let parameter = Var::from_tensor(&noise(name, (1000, 1000))?)?;
        loss = (loss + parameter.sqr()?.mean_all()?)?;
        parameters.push((name.to_owned(), parameter));
    }
    let gradients = loss.backward()?;
    let mut optimizer = AdamW::new(parameters, ADAMW)?;
    Ok(Work::new(move || optimizer.step(&gradients)))
}
