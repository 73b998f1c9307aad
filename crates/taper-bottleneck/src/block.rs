//! Blocks: one each file.

mod basic_block;
mod bottleneck;
mod conv_norm;
mod mlp_bottleneck;
mod pointwise;
mod shortcut;

pub use basic_block::{BasicBlock, BasicBlockConfig, basic_block};
pub use bottleneck::{Bottleneck, BottleneckConfig, StrideOn, bottleneck};
pub use conv_norm::{ConvNorm, ConvNormConfig, conv_norm};
pub use mlp_bottleneck::{MlpBottleneck, MlpBottleneckConfig, mlp_bottleneck};
pub use pointwise::{Pointwise, PointwiseConfig, pointwise};
pub use shortcut::Shortcut;
