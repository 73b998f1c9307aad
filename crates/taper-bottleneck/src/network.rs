//! Reference networks: one family each file.

mod cifar_resnet;
mod convnext;
mod lenet;
mod mobilenet_v2;
mod resnet;
mod squeezenet;
mod vgg;

pub use cifar_resnet::{CifarResNet, CifarResNetConfig, cifar_resnet};
pub use convnext::{ConvNext, ConvNextConfig, convnext};
pub use lenet::{LeNet5, LeNet5Config, LeNetPool, lenet5};
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Config, mobilenet_v2};
pub use resnet::{ResNet, ResNetBlock, ResNetConfig, ResNetStem, resnet};
pub use squeezenet::{SqueezeNet, SqueezeNetConfig, squeezenet};
use taper_core::{Error, Result};
pub use vgg::{Vgg, VggConfig, VggHead, vgg};

/// Refuses an image of fewer rows or columns than `least`, of which the layer `last` would get too few. Another shape than an
/// image's is left to the first layer.
fn expect_size(network: &'static str, dims: &[usize], least: usize, last: &str) -> Result<()> {
    match dims {
        [_, _, height, width] if *height.min(width) < least => {
            let expected =
                format!("at least {least} rows and columns, of which {last} still gets enough");
            Err(Error::argument(network, "x", expected, format!("{dims:?}")))
        }
        _ => Ok(()),
    }
}
