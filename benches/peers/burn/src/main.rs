//! The peer burn, on its default CPU backend (flex): the same works as `../../src/ours.rs`, in the
//! protocol of `../../src/peer.rs`.

#[path = "../../../src/peer.rs"]
mod peer;
mod steps;

use std::io;

use burn::nn::conv::{Conv2dConfig, ConvTranspose2dConfig};
use burn::nn::loss::{BinaryCrossEntropyLossConfig, CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::{BatchNormConfig, LayerNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};

use peer::{Failure, Introduction, Wanted, Work};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    let introduction = Introduction {
        name: "burn",
        version: version().to_owned(),
        settings: vec![("allocator", "mimalloc".to_owned()), ("backend", "flex".to_owned())],
    };
    peer::serve(&introduction, build)
}

/// What Cargo.lock says.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let package = lock.split_once("name = \"burn\"\nversion = \"");
    package.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown")
}

fn build(wanted: &Wanted) -> Result<Work, Failure> {
    let batch = wanted.batch;
    let images = [64, 64, 16, 16];
    Ok(match wanted.work.as_str() {
        "gemm_256" => product(256),
        "gemm_512" => product(512),
        "gemm_1024" => product(1024),
        "gemm_2048" => product(2048),
        "batch_norm_1d" => {
            let norm = BatchNormConfig::new(512).init(&device());
            layer([256, 512], move |x| norm.forward(x))
        }
        "batch_norm_2d" => {
            let norm = BatchNormConfig::new(64).init(&device());
            layer(images, move |x| norm.forward(x))
        }
        "layer_norm" => {
            let norm = LayerNormConfig::new(512).init(&device());
            layer([4096, 512], move |x| norm.forward(x))
        }
        "cross_entropy" => {
            let (labels, loss) =
                (labels(4096, 1000), CrossEntropyLossConfig::new().init(&device()));
            self::loss([4096, 1000], move |x| loss.forward(x, labels.clone()))
        }
        "bce_with_logits" => {
            let config = BinaryCrossEntropyLossConfig::new().with_logits(true);
            let loss = config.init(&device());
            // Its targets are classes.
            let target = labels(256 * 784, 2).reshape([256, 784]);
            self::loss([256, 784], move |x| loss.forward(x, target.clone()))
        }
        "mse" => {
            let target = pixels([256, 784]);
            loss([256, 784], move |x| MseLoss::new().forward(x, target.clone(), Reduction::Mean))
        }
        "conv_1x1" => convolution(1, 256, 0, 1),
        "conv_3x3" => convolution(3, 64, 1, 1),
        "conv_3x3_stride_2" => convolution(3, 64, 1, 2),
        "conv_1x1_stride_2" => convolution(1, 128, 0, 2),
        "conv_grouped" => grouped(3, 32, [64, 128, 16, 16]),
        "conv_depthwise" => grouped(3, 96, [64, 96, 16, 16]),
        "conv_depthwise_7x7" => grouped(7, 96, [64, 96, 8, 8]),
        "conv_transposed" => {
            let config = ConvTranspose2dConfig::new([64, 32], [4, 4]).with_bias(false);
            let conv = config.with_stride([2, 2]).with_padding([1, 1]).init(&device());
            layer([64, 64, 8, 8], move |x| conv.forward(x))
        }
        "mlp" => steps::mlp(batch),
        "deep_ae" => steps::deep_autoencoder(batch),
        "conv_ae" => steps::convolutional_autoencoder(batch),
        "bottleneck" => steps::bottleneck(batch),
        "adamw_3m" => steps::adamw(),
        other => return Err(format!("no work {other:?}").into()),
    })
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn noise<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device())
}

fn pixels<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &device())
}

/// Labels below `classes`.
fn labels(count: usize, classes: usize) -> Tensor<1, Int> {
    let labels: Vec<i32> = (0..count).map(|at| (at * 7919 % classes) as i32).collect();
    Tensor::from_ints(labels.as_slice(), &device())
}

fn product(size: usize) -> Work {
    let (a, b) = (noise([size, size]).inner(), noise([size, size]).inner());
    Work::new(move || -> Result<(), Failure> {
        drop(a.clone().matmul(b.clone()));
        Ok(())
    })
}

/// A layer forward and backward, its input the output of a rectifier. burn's gradients begin at a number,
/// so both sides of the difference end in a sum of products with the layer's gradient.
fn layer<const D: usize>(
    shape: [usize; D],
    forward: impl Fn(Tensor<D>) -> Tensor<D> + 'static,
) -> Work {
    let leaf = noise(shape).require_grad();
    let of_output = noise(forward(relu(leaf.clone())).dims());
    let (of_input, base) = (noise(shape), leaf.clone());
    let run = move || -> Result<(), Failure> {
        let y = forward(relu(leaf.clone()));
        drop((y * of_output.clone()).sum().backward());
        Ok(())
    };
    Work::new(run).over(move || -> Result<(), Failure> {
        drop((relu(base.clone()) * of_input.clone()).sum().backward());
        Ok(())
    })
}

/// A loss forward and backward, its input the output of a reshape, of which nothing is taken off.
fn loss<const D: usize>(
    shape: [usize; D],
    value: impl Fn(Tensor<D>) -> Tensor<1> + 'static,
) -> Work {
    let size = shape.iter().product::<usize>();
    let leaf = noise([size]).require_grad();
    Work::new(move || -> Result<(), Failure> {
        drop(value(leaf.clone().reshape(shape)).backward());
        Ok(())
    })
}

/// A convolution in groups that keeps the shape of the images.
fn grouped(kernel: usize, groups: usize, images: [usize; 4]) -> Work {
    let config = Conv2dConfig::new([images[1], images[1]], [kernel, kernel]).with_bias(false);
    let padding = kernel / 2;
    let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
    let conv = config.with_groups(groups).with_padding(padding).init(&device());
    layer(images, move |x| conv.forward(x))
}

fn convolution(kernel: usize, outputs: usize, padding: usize, stride: usize) -> Work {
    let config = Conv2dConfig::new([64, outputs], [kernel, kernel]).with_bias(false);
    let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
    let conv = config.with_stride([stride, stride]).with_padding(padding).init(&device());
    layer([64, 64, 16, 16], move |x| conv.forward(x))
}
