//! Blocks: one each file.

mod basic_block;
mod bottleneck;
mod conv_norm;
mod shortcut;

pub use basic_block::{BasicBlock, BasicBlockConfig, basic_block};
pub use bottleneck::{Bottleneck, BottleneckConfig, StrideOn, bottleneck};
pub use conv_norm::{ConvNorm, ConvNormConfig, conv_norm};
pub use shortcut::Shortcut;
