//! A network over the points of an image, none of which sees another before their mean is taken.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_bottleneck::{
    Counted, Counter, Flow, MlpBottleneck, MlpBottleneckConfig, mlp_bottleneck,
};
use taper_core::{Activation, Error, Linear, LinearConfig, Result, add, linear};

/// How a network is made.
pub(super) struct PointsNetConfig {
    /// Channels, height and width of an image.
    pub(super) image: [usize; 3],
    pub(super) classes: usize,
    /// Rows and columns of the part of an image that is one point.
    pub(super) patch: usize,
    pub(super) channels: usize,
    /// The number of blocks.
    pub(super) depth: usize,
    pub(super) block: BlockKind,
}

/// What the blocks are: c channels in and out, the input added, a ReLU after each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BlockKind {
    /// c to c / 4, to c / 4, to c.
    Bottleneck,
    /// Three layers from c to c.
    ThreeFull,
    /// One layer from c to c.
    OneFull,
    /// No block.
    None,
}

/// A block of some kind.
pub(super) enum Block {
    Three(MlpBottleneck),
    One(Linear),
    None,
}

impl Block {
    pub(super) fn new(channels: usize, kind: BlockKind, vb: &VarBuilder<'_>) -> Result<Self> {
        let three = |config| Ok(Self::Three(mlp_bottleneck(channels, config, vb.clone())?));
        match kind {
            BlockKind::Bottleneck => three(MlpBottleneckConfig::default()),
            BlockKind::ThreeFull => {
                three(MlpBottleneckConfig { reduction: 1, ..Default::default() })
            }
            BlockKind::OneFull => {
                Ok(Self::One(linear(channels, channels, rectified(), vb.pp("fc1"))?))
            }
            BlockKind::None => Ok(Self::None),
        }
    }
}

/// A layer as it begins in PyTorch, with a ReLU.
fn rectified() -> LinearConfig {
    LinearConfig { activation: Activation::Relu, ..Default::default() }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Three(block) => block.forward(x),
            Self::One(layer) => Ok(add(&layer.forward(x)?, x, Activation::Identity)?),
            Self::None => Ok(x.clone()),
        }
    }
}

impl Counted for Block {
    fn kind(&self) -> &'static str {
        "Block"
    }

    /// Of one layer, without the FLOPs of the sum.
    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        match self {
            Self::Three(block) => block.count(x, counter),
            Self::One(layer) => layer.count(x, counter),
            Self::None => Ok(x.clone()),
        }
    }
}

/// A network for images (N, features).
///
/// A point is a patch of the image and, beside its pixels, which place it is of: the blocks know no order. Each goes
/// through a layer to the channels, the blocks, and with the mean of all through a last layer.
pub(super) struct PointsNet {
    image: [usize; 3],
    patch: usize,
    embedding: Linear,
    blocks: Vec<Block>,
    top: Linear,
}

impl PointsNet {
    pub(super) fn new(config: &PointsNetConfig, vb: &VarBuilder<'_>) -> Result<Self> {
        let &PointsNetConfig { image, classes, patch, channels, depth, block } = config;
        let [planes, height, width] = image;
        if patch == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            let expected = format!("a divisor of {height} rows and {width} columns");
            return Err(Error::argument("PointsNet::new", "patch", expected, patch));
        }
        let places = (height / patch) * (width / patch);
        let features = planes * patch * patch + places;
        let blocks = (0..depth)
            .map(|at| Block::new(channels, block, &vb.pp(format!("blocks.{at}"))))
            .collect::<Result<_>>()?;
        Ok(Self {
            image,
            patch,
            embedding: linear(features, channels, rectified(), vb.pp("embedding"))?,
            blocks,
            top: linear(channels, classes, LinearConfig::default(), vb.pp("top"))?,
        })
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The points of images (N, features), (N, n, channels), as the first block gets them.
    pub(super) fn points(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        let ([planes, height, width], p) = (self.image, self.patch);
        let (rows, columns) = (height / p, width / p);
        let samples = images.dim(0)?;
        // Rows, columns, then what is within a patch.
        let parts = images.reshape(&[samples, planes, rows, p, columns, p][..])?;
        let parts = parts.permute(vec![0, 2, 4, 1, 3, 5])?;
        let pixels = parts.reshape((samples, rows * columns, planes * p * p))?;
        let places = Tensor::eye(rows * columns, images.dtype(), images.device())?;
        let places = places.unsqueeze(0)?.repeat((samples, 1, 1))?;
        self.embedding.forward(&Tensor::cat(&[pixels, places], 2)?)
    }
}

impl ModuleT for PointsNet {
    fn forward_t(&self, images: &Tensor, _train: bool) -> candle_core::Result<Tensor> {
        let mut x = self.points(images)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.top.forward(&x.mean(1)?)
    }
}

impl Counted for PointsNet {
    fn kind(&self) -> &'static str {
        "PointsNet"
    }

    /// Without the FLOPs of the mean.
    fn count(&self, images: &Flow, counter: &mut Counter) -> Result<Flow> {
        let ([planes, height, width], p) = (self.image, self.patch);
        let samples = images.dims().first().copied().unwrap_or(1);
        let places = (height / p) * (width / p);
        let points = images.reshaped(&[samples, places, planes * p * p + places]);
        let mut x = counter.layer("embedding", &self.embedding, &points)?;
        for (at, block) in self.blocks.iter().enumerate() {
            x = counter.layer(&format!("blocks.{at}"), block, &x)?;
        }
        let channels = self.top.weight().dim(1)?;
        counter.layer("top", &self.top, &x.reshaped(&[samples, channels]))
    }
}
