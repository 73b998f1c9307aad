//! Whole training steps, and the optimizer's alone.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};

use crate::peer::{Failure, Work, hold};
use crate::{device, labels, noise, pixels};

/// Steps of AdamW on the module's parameters, down the gradient of `loss`.
fn training<M: Module + 'static>(module: M, loss: impl Fn(&M) -> Tensor<1> + 'static) -> Work {
    hold();
    let mut optimizer = adamw_config().init();
    // The step takes the module and gives the new one.
    let mut module = Some(module);
    Work::new(move || -> Result<(), Failure> {
        let Some(old) = module.take() else {
            return Err("the last step failed".into());
        };
        let gradients = GradientsParams::from_grads(loss(&old).backward(), &old);
        module = Some(optimizer.step(1e-4, old, gradients));
        Ok(())
    })
}

fn adamw_config() -> AdamWConfig {
    AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01)
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    bn1: BatchNorm,
    fc2: Linear,
    bn2: BatchNorm,
    fc3: Linear,
}

pub(crate) fn mlp(batch: usize) -> Work {
    let device = device();
    let module = Mlp {
        fc1: LinearConfig::new(784, 512).init(&device),
        bn1: BatchNormConfig::new(512).init(&device),
        fc2: LinearConfig::new(512, 512).init(&device),
        bn2: BatchNormConfig::new(512).init(&device),
        fc3: LinearConfig::new(512, 10).init(&device),
    };
    let (images, labels) = (pixels([batch, 784]), labels(batch, 10));
    let loss = CrossEntropyLossConfig::new().init(&device);
    training(module, move |module: &Mlp| {
        let x = relu(module.bn1.forward(module.fc1.forward(images.clone())));
        let x = relu(module.bn2.forward(module.fc2.forward(x)));
        loss.forward(module.fc3.forward(x), labels.clone())
    })
}

#[derive(Module, Debug)]
struct DeepAutoencoder {
    layers: Vec<Linear>,
}

pub(crate) fn deep_autoencoder(batch: usize) -> Work {
    let widths = [784, 1000, 500, 250, 30, 250, 500, 1000, 784];
    let layers = widths.windows(2).map(|pair| LinearConfig::new(pair[0], pair[1]).init(&device()));
    let module = DeepAutoencoder { layers: layers.collect() };
    let images = pixels([batch, 784]);
    training(module, move |module: &DeepAutoencoder| {
        let mut x = images.clone();
        for (at, layer) in module.layers.iter().enumerate() {
            x = layer.forward(x);
            x = match at {
                3 => x,
                7 => sigmoid(x),
                _ => relu(x),
            };
        }
        MseLoss::new().forward(x, images.clone(), Reduction::Mean)
    })
}

#[derive(Module, Debug)]
struct ConvolutionalAutoencoder {
    down1: Conv2d,
    down2: Conv2d,
    up1: ConvTranspose2d,
    up2: ConvTranspose2d,
}

pub(crate) fn convolutional_autoencoder(batch: usize) -> Work {
    let device = device();
    let down = |channels| {
        let config = Conv2dConfig::new(channels, [3, 3]).with_stride([2, 2]);
        config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(&device)
    };
    let up = |channels| {
        let config = ConvTranspose2dConfig::new(channels, [4, 4]).with_stride([2, 2]);
        config.with_padding([1, 1]).init(&device)
    };
    let module = ConvolutionalAutoencoder {
        down1: down([1, 16]),
        down2: down([16, 32]),
        up1: up([32, 16]),
        up2: up([16, 1]),
    };
    let images = pixels([batch, 1, 28, 28]);
    training(module, move |module: &ConvolutionalAutoencoder| {
        let x = relu(module.down1.forward(images.clone()));
        let x = relu(module.down2.forward(x));
        let x = sigmoid(module.up2.forward(relu(module.up1.forward(x))));
        MseLoss::new().forward(x, images.clone(), Reduction::Mean)
    })
}

#[derive(Module, Debug)]
struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    conv3: Conv2d,
    bn3: BatchNorm,
}

pub(crate) fn bottleneck(batch: usize) -> Work {
    let device = device();
    let conv = |channels, kernel: usize| {
        let around = kernel / 2;
        let padding = PaddingConfig2d::Explicit(around, around, around, around);
        let config = Conv2dConfig::new(channels, [kernel, kernel]).with_bias(false);
        config.with_padding(padding).init(&device)
    };
    let norm = |channels| BatchNormConfig::new(channels).init(&device);
    let module = Bottleneck {
        conv1: conv([256, 64], 1),
        bn1: norm(64),
        conv2: conv([64, 64], 3),
        bn2: norm(64),
        conv3: conv([64, 256], 1),
        bn3: norm(256),
    };
    // The block stands inside a network, so its input has a gradient.
    let input = noise([batch, 256, 16, 16]).require_grad();
    training(module, move |module: &Bottleneck| {
        let x = relu(module.bn1.forward(module.conv1.forward(input.clone())));
        let x = relu(module.bn2.forward(module.conv2.forward(x)));
        let x = module.bn3.forward(module.conv3.forward(x));
        relu(x + input.clone()).square().mean()
    })
}

#[derive(Module, Debug)]
struct Three {
    parameters: Vec<Param<Tensor<2>>>,
}

/// The step alone, on three parameters of a million numbers each.
pub(crate) fn adamw() -> Work {
    let parameters = (0..3).map(|_| Param::from_tensor(noise([1000, 1000]))).collect();
    let mut module = Some(Three { parameters });
    let gradients = [0; 3].map(|_| noise([1000, 1000]).inner());
    let mut optimizer = adamw_config().init();
    Work::new(move || -> Result<(), Failure> {
        let Some(old) = module.take() else {
            return Err("the last step failed".into());
        };
        let mut given = GradientsParams::new();
        for (parameter, gradient) in old.parameters.iter().zip(&gradients) {
            given.register(parameter.id, gradient.clone());
        }
        module = Some(optimizer.step(1e-4, old, given));
        Ok(())
    })
}
