//! ResNet for photographs, with its wide and grouped relatives.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{
    Activation, AdaptiveAvgPool2d, Error, Linear, LinearConfig, MaxPool2d, MaxPool2dConfig, Result,
    linear,
};
use taper_norm::{BatchNormConfig, NormConfig};

use crate::{
    BasicBlock, BasicBlockConfig, Bottleneck, BottleneckConfig, ConvNorm, ConvNormConfig, Counted,
    Counter, Flow, Shortcut, StrideOn, basic_block, bottleneck, conv_norm,
};

/// What a [`ResNet`] begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResNetStem {
    /// A 7x7 convolution and a max pooling, each of stride 2: a quarter of the rows and columns is left.
    #[default]
    Large,
    /// A 3x3 convolution: all are left, for images of some tens of rows.
    Small,
}

/// What a [`ResNet`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResNetBlock {
    /// Two 3x3 convolutions.
    #[default]
    Basic,
    /// A 3x3 convolution between two 1x1, whose output is 4 times as wide.
    Bottleneck {
        /// How many times narrower than the output the middle is.
        reduction: usize,
        /// Parts into which the 3x3 divides its channels.
        groups: usize,
        /// Which convolution moves by the stride.
        stride_on: StrideOn,
    },
}

impl ResNetBlock {
    const BOTTLENECK: Self =
        Self::Bottleneck { reduction: 4, groups: 1, stride_on: StrideOn::Spatial };

    /// How many times wider than its stage's `width` a block's output is.
    fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck { .. } => 4,
        }
    }
}

/// How [`resnet`] makes a network; the default is [`ResNetConfig::resnet18`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResNetConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// Blocks of the four stages.
    pub depths: [usize; 4],
    /// Channels of the stem, and of the 3x3 convolutions of the first stage with a reduction of 4; each further stage has twice
    /// as many.
    pub width: usize,
    /// What the stages are made of.
    pub block: ResNetBlock,
    /// What comes before them.
    pub stem: ResNetStem,
    /// What goes around a block whose input and output differ in shape.
    pub shortcut: Shortcut,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution.
    pub activation: Activation,
    /// Whether each block begins as the activation of its shortcut.
    pub zero_init_residual: bool,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 1000,
            depths: [2, 2, 2, 2],
            width: 64,
            block: ResNetBlock::Basic,
            stem: ResNetStem::Large,
            shortcut: Shortcut::Projection,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

impl ResNetConfig {
    /// 18 layers: 11.69 M parameters.
    pub fn resnet18() -> Self {
        Self::default()
    }

    /// 34 layers: 21.80 M parameters.
    pub fn resnet34() -> Self {
        Self { depths: [3, 4, 6, 3], ..Self::default() }
    }

    /// 50 layers: 25.56 M parameters.
    pub fn resnet50() -> Self {
        Self { block: ResNetBlock::BOTTLENECK, ..Self::resnet34() }
    }

    /// 101 layers: 44.55 M parameters.
    pub fn resnet101() -> Self {
        Self { depths: [3, 4, 23, 3], ..Self::resnet50() }
    }

    /// 152 layers: 60.19 M parameters.
    pub fn resnet152() -> Self {
        Self { depths: [3, 8, 36, 3], ..Self::resnet50() }
    }

    /// 50 layers, the 3x3 convolutions twice as wide and in 32 groups of 4 and more: 25.03 M parameters.
    pub fn resnext50_32x4d() -> Self {
        let stride_on = StrideOn::Spatial;
        let block = ResNetBlock::Bottleneck { reduction: 2, groups: 32, stride_on };
        Self { block, ..Self::resnet50() }
    }

    /// 50 layers, the 3x3 convolutions twice as wide: 68.88 M parameters.
    pub fn wide_resnet50_2() -> Self {
        let stride_on = StrideOn::Spatial;
        let block = ResNetBlock::Bottleneck { reduction: 2, groups: 1, stride_on };
        Self { block, ..Self::resnet50() }
    }

    /// A block from and to so many channels.
    fn block(&self, [from, to]: [usize; 2], stride: usize, vb: VarBuilder) -> Result<Block> {
        let Self { shortcut, norm, activation, zero_init_residual, .. } = *self;
        Ok(match self.block {
            ResNetBlock::Basic => {
                let config = BasicBlockConfig {
                    stride,
                    shortcut,
                    norm,
                    activation,
                    zero_init_residual,
                    squeeze_excite: None,
                };
                Block::Basic(Box::new(basic_block(from, to, config, vb)?))
            }
            ResNetBlock::Bottleneck { reduction, groups, stride_on } => {
                let config = BottleneckConfig {
                    stride,
                    stride_on,
                    reduction,
                    groups,
                    dilation: 1,
                    shortcut,
                    squeeze_excite: None,
                    norm,
                    activation,
                    zero_init_residual,
                };
                Block::Bottleneck(Box::new(bottleneck(from, to, config, vb)?))
            }
        })
    }
}

/// A network of `vb`'s parameters `conv1`, `bn1`, `layer1` to `layer4` and `fc`, torchvision's names; see [`ResNet`].
pub fn resnet(config: ResNetConfig, vb: VarBuilder) -> Result<ResNet> {
    let ResNetConfig { in_channels, num_classes, depths, width, norm, activation, .. } = config;
    if depths.contains(&0) {
        let received = format!("{depths:?}");
        return Err(Error::argument("resnet", "depths", "at least 1 of each stage", received));
    }
    let plain = ConvNormConfig { norm, activation, ..Default::default() };
    let (kernel, stride) = match config.stem {
        ResNetStem::Large => (7, 2),
        ResNetStem::Small => (3, 1),
    };
    let stem = ConvNormConfig { stride, ..plain };
    let conv1 = conv_norm(in_channels, width, kernel, stem, vb.pp("conv1"), vb.pp("bn1"))?;
    let halve = MaxPool2dConfig { stride: Some(2.into()), padding: 1.into(), ..Default::default() };
    let pool = match config.stem {
        ResNetStem::Large => Some(MaxPool2d::new(3, halve)?),
        ResNetStem::Small => None,
    };
    let mut channels = width;
    let mut stages = Vec::with_capacity(depths.len());
    for (at, depth) in depths.into_iter().enumerate() {
        let vb = vb.pp(format!("layer{}", at + 1));
        let to = (width << at) * config.block.expansion();
        let mut blocks = Vec::with_capacity(depth);
        for block in 0..depth {
            let stride = if at > 0 && block == 0 { 2 } else { 1 };
            blocks.push(config.block([channels, to], stride, vb.pp(block))?);
            channels = to;
        }
        stages.push(blocks);
    }
    let average = AdaptiveAvgPool2d::new(1)?;
    let fc = linear(channels, num_classes, LinearConfig::default(), vb.pp("fc"))?;
    Ok(ResNet { conv1, pool, stages, average, fc })
}

/// A residual network for photographs, or with a small stem for small images.
///
/// # Equation
/// y = W · mean over all places of (stage₄ ∘ stage₃ ∘ stage₂ ∘ stage₁ ∘ stem)(x) + b. Each stage is a row of
/// basic blocks ([`BasicBlock`]) or bottlenecks ([`Bottleneck`]); the first block of the second to the fourth has stride 2:
///
/// ```text
///             rows   18           34           50                101     152
///     stem     112   7×7, 64, stride 2
///               56   max 3×3, stride 2
///     layer1    56   3×3,  64     3×3,  64     1×1, 64
///                    3×3,  64 ×2  3×3,  64 ×3  3×3, 64
///                                              1×1, 256   ×3     ×3      ×3
///     layer2    28   3×3, 128     3×3, 128     1×1, 128
///                    3×3, 128 ×2  3×3, 128 ×4  3×3, 128
///                                              1×1, 512   ×4     ×4      ×8
///     layer3    14   3×3, 256     3×3, 256     1×1, 256
///                    3×3, 256 ×2  3×3, 256 ×6  3×3, 256
///                                              1×1, 1024  ×6     ×23     ×36
///     layer4     7   3×3, 512     3×3, 512     1×1, 512
///                    3×3, 512 ×2  3×3, 512 ×3  3×3, 512
///                                              1×1, 2048  ×3     ×3      ×3
///     avgpool    1   mean of all places
///     fc             512 → 1000   512 → 1000   2048 → 1000
/// ```
///
/// With d blocks in all it has 2 d + 2 layers in a row of basic blocks, 3 d + 2 of bottlenecks; projections are beside them. The
/// small stem is a 3x3 convolution without stride or pooling. For an image of 224x224 and 1000 classes:
///
/// | | depth | parameters | MACs |
/// |---|---|---|---|
/// | [`resnet18`](ResNetConfig::resnet18) | 18 | 11,689,512 | 1,814,073,344 |
/// | [`resnet34`](ResNetConfig::resnet34) | 34 | 21,797,672 | 3,663,761,408 |
/// | [`resnet50`](ResNetConfig::resnet50) | 50 | 25,557,032 | 4,089,184,256 |
/// | the same, stride on the first 1x1 | 50 | 25,557,032 | 3,857,973,248 |
/// | [`resnet101`](ResNetConfig::resnet101) | 101 | 44,549,160 | 7,801,405,440 |
/// | [`resnet152`](ResNetConfig::resnet152) | 152 | 60,192,808 | 11,513,626,624 |
/// | [`resnext50_32x4d`](ResNetConfig::resnext50_32x4d) | 50 | 25,028,904 | 4,230,479,872 |
/// | [`wide_resnet50_2`](ResNetConfig::wide_resnet50_2) | 50 | 68,883,240 | 11,398,021,120 |
///
/// # Shapes
/// x (N, in_channels, H, W), of any size, to y (N, num_classes). The last stage has ⌈H / 32⌉ × ⌈W / 32⌉ places, with the small
/// stem ⌈H / 8⌉ × ⌈W / 8⌉.
///
/// # Parameters
/// Of [`ResNetConfig`]:
/// - `in_channels`: 3; `num_classes`: 1000; at least 1.
/// - `depths`: \[2, 2, 2, 2\] blocks; at least 1 of each stage.
/// - `width`: 64 channels of the stem and the first stage; at least 1. A bottleneck's output is 4 times as wide as a basic block's.
/// - `block`: [`ResNetBlock::Basic`], or a bottleneck with a reduction and groups that divide its channels.
/// - `stem`: [`ResNetStem::Large`]. [`ResNetStem::Small`] for images of less than some 64 rows.
/// - `shortcut`: [`Shortcut::Projection`]; with [`Shortcut::PooledProjection`] the blocks are those of ResNet-D.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation`: [`Activation::Relu`].
/// - `zero_init_residual`: false.
///
/// # Numerics
/// Those of its blocks.
///
/// # Deviations
/// 1. From torchvision: any width, norm, activation and shortcut, and the small stem; no `replace_stride_with_dilation`. With the
///    large stem and projections, names, shapes and initial distributions are the same.
/// 2. From the paper: the stride of a bottleneck is on its 3x3 convolution (version 1.5), as in torchvision; the paper's 3.8 G MACs
///    are those of [`StrideOn::Pointwise`].
///
/// # Errors
/// [`resnet`] refuses a stage without blocks, sizes of 0, and what the blocks refuse; `forward_t` an x of other channels, and in
/// training what the norm refuses: batch normalization a single place of a single image, which the last stage of one small
/// image is.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, table 1, <https://arxiv.org/abs/1512.03385>.
/// - Xie, Girshick, Dollár, Tu and He 2016, Aggregated residual transformations (ResNeXt), <https://arxiv.org/abs/1611.05431>.
/// - Zagoruyko and Komodakis 2016, Wide residual networks, <https://arxiv.org/abs/1605.07146>.
/// - `torchvision.models.resnet`, <https://docs.pytorch.org/vision/stable/models/resnet.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{ResNetConfig, ResNetStem, meta, resnet, summary};
/// use taper_core::{Parameters, stream};
///
/// let total = summary(&resnet(ResNetConfig::resnet50(), meta(DType::F32))?, &[1, 3, 224, 224])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (25_557_032, 4_089_184_256));
/// assert_eq!(total.depth, 50);
///
/// // For grey images of 28x28.
/// let config = ResNetConfig {
///     in_channels: 1,
///     num_classes: 10,
///     width: 8,
///     stem: ResNetStem::Small,
///     ..ResNetConfig::resnet18()
/// };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = resnet(config, parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward_t(&x, true)?.dims(), [2, 10]);
/// assert_eq!(network.features_t(&x, false)?.dims(), [2, network.num_features()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ResNet {
    conv1: ConvNorm,
    pool: Option<MaxPool2d>,
    stages: Vec<Vec<Block>>,
    average: AdaptiveAvgPool2d,
    fc: Linear,
}

impl ResNet {
    /// What the classifier sees: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let mut y = self.conv1.forward_t(x, train)?;
        if let Some(pool) = &self.pool {
            y = pool.forward(&y)?;
        }
        for block in self.stages.iter().flatten() {
            y = block.forward_t(&y, train)?;
        }
        self.average.forward(&y)?.flatten_from(1)
    }

    /// How many features the classifier sees.
    pub fn num_features(&self) -> usize {
        self.fc.weight().dims().last().copied().unwrap_or(0)
    }
}

impl ModuleT for ResNet {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.fc.forward(&self.features_t(x, train)?)
    }
}

impl Counted for ResNet {
    fn kind(&self) -> &'static str {
        "ResNet"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let mut y = self.conv1.count_as(["conv1", "bn1"], x, None, counter)?;
        if let Some(pool) = &self.pool {
            y = counter.layer("maxpool", pool, &y)?;
        }
        for (at, blocks) in self.stages.iter().enumerate() {
            y = counter.group(&format!("layer{}", at + 1), "Stage", |counter| {
                let mut y = y.clone();
                for (at, block) in blocks.iter().enumerate() {
                    y = counter.layer(&at.to_string(), block, &y)?;
                }
                Ok(y)
            })?;
        }
        let y = counter.layer("avgpool", &self.average, &y)?.flattened();
        counter.layer("fc", &self.fc, &y)
    }
}

#[derive(Debug, Clone)]
enum Block {
    Basic(Box<BasicBlock>),
    Bottleneck(Box<Bottleneck>),
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        match self {
            Self::Basic(block) => block.forward_t(x, train),
            Self::Bottleneck(block) => block.forward_t(x, train),
        }
    }
}

impl Counted for Block {
    fn kind(&self) -> &'static str {
        match self {
            Self::Basic(block) => block.kind(),
            Self::Bottleneck(block) => block.kind(),
        }
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        match self {
            Self::Basic(block) => block.count(x, counter),
            Self::Bottleneck(block) => block.count(x, counter),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::{ReceptiveField, Summary, meta, summary};

    fn counted(config: ResNetConfig, size: usize) -> Result<Summary> {
        summary(&resnet(config, meta(DType::F32))?, &[1, config.in_channels, size, size])
    }

    /// Of this layer, in rows; the field is square.
    fn field(config: ResNetConfig, name: &str) -> Result<u64> {
        let rows = counted(config, 224)?.rows;
        match rows.iter().find(|row| row.name == name).and_then(|row| row.receptive_field) {
            Some(ReceptiveField::Pixels { height, width }) if height == width => Ok(height),
            other => Err(Error::argument("field", "name", "a square field", format!("{other:?}"))),
        }
    }

    #[test]
    fn receptive_field_by_hand() -> Result<()> {
        let eighteen = ResNetConfig::resnet18();
        // 7, then 2 · 2 for the pooling; four 3x3 at a distance of 4 pixels; one at 4 and three at 8; and so on.
        assert_eq!(field(eighteen, "maxpool")?, 11);
        assert_eq!(field(eighteen, "layer1")?, 11 + 4 * 8);
        assert_eq!(field(eighteen, "layer2")?, 43 + 8 + 3 * 16);
        assert_eq!(field(eighteen, "layer3")?, 99 + 16 + 3 * 32);
        assert_eq!(field(eighteen, "layer4")?, 211 + 32 + 3 * 64);
        // A 3x3 a block, where the stride on the 1x1 before it moves all of a stage's a step further apart.
        assert_eq!(field(ResNetConfig::resnet50(), "layer4")?, 427);
        let pointwise =
            ResNetBlock::Bottleneck { reduction: 4, groups: 1, stride_on: StrideOn::Pointwise };
        let first = ResNetConfig { block: pointwise, ..ResNetConfig::resnet50() };
        assert_eq!(field(first, "layer4")?, 11 + 3 * 8 + 4 * 16 + 6 * 32 + 3 * 64);
        assert_eq!(counted(first, 224)?.total.cost.macs, 3_857_973_248);
        Ok(())
    }

    #[test]
    fn depth_is_that_of_the_name() -> Result<()> {
        for (config, depth) in [
            (ResNetConfig::resnet18(), 18),
            (ResNetConfig::resnet34(), 34),
            (ResNetConfig::resnet50(), 50),
            (ResNetConfig::resnet101(), 101),
            (ResNetConfig::resnet152(), 152),
            (ResNetConfig::resnext50_32x4d(), 50),
            (ResNetConfig::wide_resnet50_2(), 50),
        ] {
            assert_eq!(counted(config, 224)?.total.depth, depth);
        }
        Ok(())
    }

    #[test]
    fn a_stem_leaves_a_quarter_or_all() -> Result<()> {
        let places = |stem| -> Result<Vec<usize>> {
            let rows = counted(ResNetConfig { stem, ..Default::default() }, 65)?.rows;
            let layers = rows.iter().filter(|row| row.level == 0 && row.output.len() == 4);
            Ok(layers.map(|row| row.output[2]).collect())
        };
        assert_eq!(places(ResNetStem::Large)?, [33, 33, 17, 17, 9, 5, 3, 1]);
        assert_eq!(places(ResNetStem::Small)?, [65, 65, 65, 33, 17, 9, 1]);
        // A single pixel is enough.
        assert_eq!(counted(ResNetConfig::default(), 1)?.output, [1, 1000]);
        Ok(())
    }

    #[test]
    fn bad_input_is_named() {
        let refused = |config| match resnet(config, meta(DType::F32)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let eighteen = ResNetConfig::resnet18();
        assert_eq!(
            refused(ResNetConfig { depths: [2, 0, 2, 2], ..eighteen }),
            "resnet: depths should be at least 1 of each stage, got [2, 0, 2, 2]"
        );
        assert_eq!(
            refused(ResNetConfig { num_classes: 0, ..eighteen }),
            "linear: out_features should be at least 1, got 0"
        );
        let block =
            ResNetBlock::Bottleneck { reduction: 3, groups: 1, stride_on: StrideOn::Spatial };
        assert_eq!(
            refused(ResNetConfig { block, ..eighteen }),
            "bottleneck: reduction should be at least 1 and a divisor of out_channels (256), got 3"
        );
    }
}
