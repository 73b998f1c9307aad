//! Blocks: one each file.

mod adapter;
mod basic_block;
mod bottleneck;
mod branch_end;
mod conv_norm;
mod convnext_block;
mod drop_path;
mod fire;
mod inception;
mod inverted_residual;
mod layer_scale;
mod mixer_block;
mod mlp_bottleneck;
mod mlp_conv;
mod norm_activation;
mod pre_activation;
mod pre_activation_block;
mod pre_activation_bottleneck;
mod shortcut;
mod squeeze_excite;

pub use adapter::{Adapter, AdapterConfig, adapter};
pub use basic_block::{BasicBlock, BasicBlockConfig, basic_block};
pub use bottleneck::{Bottleneck, BottleneckConfig, StrideOn, bottleneck};
pub use conv_norm::{ConvNorm, ConvNormConfig, conv_norm};
pub(crate) use conv_norm::{HE, conv_norm_of};
pub(crate) use convnext_block::TRUNCATED;
pub use convnext_block::{ConvNextBlock, ConvNextBlockConfig, convnext_block};
pub use drop_path::DropPath;
pub use fire::{Fire, FireConfig, fire};
pub use inception::{Inception, InceptionConfig, InceptionWidths, inception};
pub use inverted_residual::{InvertedResidual, InvertedResidualConfig, inverted_residual};
pub use layer_scale::{Channels, LayerScale, layer_scale};
pub use mixer_block::{MixerBlock, MixerBlockConfig, mixer_block};
pub use mlp_bottleneck::{MlpBottleneck, MlpBottleneckConfig, mlp_bottleneck};
pub use mlp_conv::{MlpConv, MlpConvConfig, mlp_conv};
pub use pre_activation_block::{
    PreActivationBlock, PreActivationBlockConfig, pre_activation_block,
};
pub use pre_activation_bottleneck::{
    PreActivationBottleneck, PreActivationBottleneckConfig, pre_activation_bottleneck,
};
pub use shortcut::Shortcut;
pub use squeeze_excite::{SqueezeExcite, SqueezeExciteConfig, squeeze_excite};
pub use taper_core::{Pointwise, PointwiseConfig, pointwise};
