//! A convolution, blocks of one kind, the mean over places and a linear layer: the network of the experiments on
//! convolution blocks.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_bottleneck::{
    BasicBlock, BasicBlockConfig, Bottleneck, BottleneckConfig, ConvNorm, ConvNormConfig, Counted,
    Counter, Flow, basic_block, bottleneck, conv_norm,
};
use taper_core::{Activation, AdaptiveAvgPool2d, Linear, LinearConfig, Result, linear};
use taper_norm::NormConfig;

/// How a network is made.
pub(crate) struct ConvNetConfig {
    /// Channels, height and width of an image.
    pub(crate) image: [usize; 3],
    pub(crate) classes: usize,
    pub(crate) channels: usize,
    /// How far the first convolution moves: all blocks are at the size that it leaves.
    pub(crate) stride: usize,
    /// The number of blocks.
    pub(crate) depth: usize,
    pub(crate) block: BlockKind,
    pub(crate) norm: NormConfig,
}

/// What the blocks are. All have as many channels in as out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockKind {
    /// Two 3x3 convolutions.
    Plain,
    /// The same and a way around them; the last norm, or convolution where there is none, begins as 0.
    Basic,
    /// 1x1, 3x3 and 1x1 with a quarter of the channels in the middle, and a way around them; begins as the basic block.
    Bottleneck,
    /// The same without the ReLU behind the first 1x1.
    BottleneckWithoutRelu,
}

/// A block of some kind.
pub(crate) enum Block {
    Plain([ConvNorm; 2]),
    Basic(BasicBlock),
    Bottleneck(Box<Bottleneck>),
    BottleneckWithoutRelu(Box<[ConvNorm; 3]>),
}

impl Block {
    pub(crate) fn new(
        channels: usize,
        kind: BlockKind,
        norm: NormConfig,
        vb: &VarBuilder<'_>,
    ) -> Result<Self> {
        let part = |at: usize, [inputs, outputs]: [usize; 2], kernel: usize, config| {
            let [conv, bn] = ["conv", "bn"].map(|name| vb.pp(format!("{name}{at}")));
            conv_norm(inputs, outputs, kernel, config, conv, bn)
        };
        let rectified = ConvNormConfig { norm, ..Default::default() };
        let zero_init_residual = true;
        Ok(match kind {
            BlockKind::Plain => Self::Plain([
                part(1, [channels; 2], 3, rectified)?,
                part(2, [channels; 2], 3, rectified)?,
            ]),
            BlockKind::Basic => {
                let config = BasicBlockConfig { norm, zero_init_residual, ..Default::default() };
                Self::Basic(basic_block(channels, channels, config, vb.clone())?)
            }
            BlockKind::Bottleneck => {
                let config = BottleneckConfig { norm, zero_init_residual, ..Default::default() };
                Self::Bottleneck(Box::new(bottleneck(channels, channels, config, vb.clone())?))
            }
            BlockKind::BottleneckWithoutRelu => {
                let width = channels / BottleneckConfig::default().reduction;
                let linear = ConvNormConfig { activation: Activation::Identity, ..rectified };
                let last = ConvNormConfig { zero_init: true, ..rectified };
                Self::BottleneckWithoutRelu(Box::new([
                    part(1, [channels, width], 1, linear)?,
                    part(2, [width, width], 3, rectified)?,
                    part(3, [width, channels], 1, last)?,
                ]))
            }
        })
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        match self {
            Self::Plain([first, second]) => second.forward_t(&first.forward_t(x, train)?, train),
            Self::Basic(block) => block.forward_t(x, train),
            Self::Bottleneck(block) => block.forward_t(x, train),
            Self::BottleneckWithoutRelu(parts) => {
                let [first, second, third] = &**parts;
                let y = second.forward_t(&first.forward_t(x, train)?, train)?;
                third.forward_residual_t(&y, x, train)
            }
        }
    }
}

impl Counted for Block {
    fn kind(&self) -> &'static str {
        "Block"
    }

    /// Of blocks that are not taper-bottleneck's own, without the FLOPs of the sum.
    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let in_a_row = |parts: &[ConvNorm], counter: &mut Counter| {
            let parts = parts.iter().enumerate();
            parts
                .map(|(at, part)| (at.to_string(), part))
                .try_fold(x.clone(), |x, (name, part)| counter.layer(&name, part, &x))
        };
        match self {
            Self::Plain(parts) => in_a_row(parts, counter),
            Self::Basic(block) => block.count(x, counter),
            Self::Bottleneck(block) => block.count(x, counter),
            Self::BottleneckWithoutRelu(parts) => in_a_row(&**parts, counter),
        }
    }
}

/// A network for images (N, features).
pub(crate) struct ConvNet {
    image: [usize; 3],
    stem: ConvNorm,
    blocks: Vec<Block>,
    pool: AdaptiveAvgPool2d,
    top: Linear,
}

impl ConvNet {
    pub(crate) fn new(config: &ConvNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let &ConvNetConfig { image, classes, channels, stride, depth, block, norm } = config;
        let stem = ConvNormConfig { stride, norm, ..Default::default() };
        let blocks = (0..depth)
            .map(|at| Block::new(channels, block, norm, &vb.pp(format!("blocks.{at}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            image,
            stem: conv_norm(image[0], channels, 3, stem, vb.pp("conv1"), vb.pp("bn1"))?,
            blocks,
            pool: AdaptiveAvgPool2d::new(1)?,
            top: linear(channels, classes, LinearConfig::default(), vb.pp("fc"))?,
        })
    }
}

impl ModuleT for ConvNet {
    fn forward_t(&self, images: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let [channels, height, width] = self.image;
        let mut x = self.stem.forward_t(&images.reshape(((), channels, height, width))?, train)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.top.forward(&self.pool.forward(&x)?.flatten_from(1)?)
    }
}

impl Counted for ConvNet {
    fn kind(&self) -> &'static str {
        "ConvNet"
    }

    fn count(&self, images: &Flow, counter: &mut Counter) -> Result<Flow> {
        let [channels, height, width] = self.image;
        let samples = images.dims().first().copied().unwrap_or(1);
        let images = images.reshaped(&[samples, channels, height, width]);
        let mut x = counter.layer("stem", &self.stem, &images)?;
        for (at, block) in self.blocks.iter().enumerate() {
            x = counter.layer(&format!("blocks.{at}"), block, &x)?;
        }
        let x = counter.layer("pool", &self.pool, &x)?.flattened();
        counter.layer("fc", &self.top, &x)
    }
}
