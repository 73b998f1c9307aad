//! Our side: the work with Taper's crates.

mod layers;
mod losses;
mod steps;

use candle_core::Device;
use taper_core::Activation;
use taper_core::optim::AdamWConfig;

use crate::peer::{Failure, Introduction, Wanted, Work};

const CPU: Device = Device::Cpu;

/// Only the work counts, so the parameters should stay where they are; PyTorch's default otherwise.
const ADAMW: AdamWConfig =
    AdamWConfig { learning_rate: 1e-4, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-2 };

/// Who we are, with this allocator.
pub fn introduction(allocator: &str) -> Introduction {
    Introduction {
        name: "taper",
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: vec![("allocator", allocator.to_owned())],
    }
}

/// Builds a work.
pub fn build(wanted: &Wanted) -> Result<Work, Failure> {
    let batch = wanted.batch;
    match wanted.work.as_str() {
        "gemm_256" => layers::product(256),
        "gemm_512" => layers::product(512),
        "gemm_1024" => layers::product(1024),
        "gemm_2048" => layers::product(2048),
        "batch_norm_1d" => layers::batch_norm((256, 512), 512),
        "batch_norm_2d" => layers::batch_norm((64, 64, 16, 16), 64),
        "batch_norm_2d_relu" => layers::batch_norm_relu(false),
        "batch_norm_2d_add_relu" => layers::batch_norm_relu(true),
        "layer_norm" => layers::layer_norm(),
        "layer_norm_add" => layers::layer_norm_add(),
        "rms_norm" => layers::rms_norm(),
        "group_norm" => layers::group_norm(Activation::Identity),
        "group_norm_relu" => layers::group_norm(Activation::Relu),
        "instance_norm" => layers::instance_norm(),
        "channel_layer_norm" => layers::channel_layer_norm(),
        "local_response_norm" => layers::local_response_norm(),
        "spectral_norm" => layers::spectral_norm(),
        "weight_norm" => layers::weight_norm(),
        "cross_entropy" => losses::cross_entropy(),
        "bce_with_logits" => losses::binary_cross_entropy(),
        "mse" => losses::mse(),
        "mae" => losses::mae(),
        "huber" => losses::huber(),
        "sigmoid_focal" => losses::sigmoid_focal(),
        "kl_div" => losses::kl_div(),
        "nt_xent" => losses::nt_xent(),
        "conv_1x1" => layers::convolution(1, 256, 0, 1),
        "conv_3x3" => layers::convolution(3, 64, 1, 1),
        "conv_3x3_stride_2" => layers::convolution(3, 64, 1, 2),
        "conv_1x1_stride_2" => layers::convolution(1, 128, 0, 2),
        "conv_grouped" => layers::grouped(3, 32, (64, 128, 16, 16)),
        "conv_depthwise" => layers::grouped(3, 96, (64, 96, 16, 16)),
        "conv_depthwise_7x7" => layers::grouped(7, 96, (64, 96, 8, 8)),
        "conv_transposed" => layers::transposed_convolution(),
        "mlp" => Ok(steps::mlp(batch)?),
        "deep_ae" => Ok(steps::deep_autoencoder(batch)?),
        "conv_ae" => Ok(steps::convolutional_autoencoder(batch)?),
        "bottleneck" => Ok(steps::bottleneck(batch)?),
        "basic_block" => Ok(steps::basic_block(batch)?),
        "inverted_residual" => Ok(steps::inverted_residual(batch)?),
        "resnet18" => Ok(steps::resnet18(batch)?),
        "adamw_3m" => Ok(steps::adamw()?),
        other => Err(format!("no work {other:?}").into()),
    }
}
