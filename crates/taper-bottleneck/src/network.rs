//! Reference networks: one family each file.

mod cifar_resnet;
mod resnet;

pub use cifar_resnet::{CifarResNet, CifarResNetConfig, cifar_resnet};
pub use resnet::{ResNet, ResNetBlock, ResNetConfig, ResNetStem, resnet};
