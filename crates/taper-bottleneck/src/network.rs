//! Reference networks: one family each file.

mod resnet;

pub use resnet::{ResNet, ResNetBlock, ResNetConfig, ResNetStem, resnet};
