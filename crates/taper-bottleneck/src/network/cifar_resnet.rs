//! ResNet for small images, and the plain network of the same depth.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, AdaptiveAvgPool2d, Error, Linear, LinearConfig, Result, linear};
use taper_norm::{BatchNormConfig, NormConfig};

use crate::{
    BasicBlock, BasicBlockConfig, ConvNorm, ConvNormConfig, Counted, Counter, Flow, Shortcut,
    basic_block, conv_norm,
};

/// How [`cifar_resnet`] makes a network; the default is [`CifarResNetConfig::resnet20`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CifarResNetConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// Blocks of each of the three stages.
    pub blocks: usize,
    /// Channels of the stem and the first stage; each further stage has twice as many.
    pub width: usize,
    /// Whether anything goes around a block; without, it is the plain network.
    pub residual: bool,
    /// What goes around a block whose input and output differ in shape.
    pub shortcut: Shortcut,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution.
    pub activation: Activation,
    /// Whether each block begins as the activation of its shortcut.
    pub zero_init_residual: bool,
}

impl Default for CifarResNetConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 10,
            blocks: 3,
            width: 16,
            residual: true,
            shortcut: Shortcut::Padded,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu,
            zero_init_residual: false,
        }
    }
}

impl CifarResNetConfig {
    /// 20 layers: 0.27 M parameters.
    pub fn resnet20() -> Self {
        Self::default()
    }

    /// 32 layers: 0.46 M parameters.
    pub fn resnet32() -> Self {
        Self { blocks: 5, ..Self::default() }
    }

    /// 44 layers: 0.66 M parameters.
    pub fn resnet44() -> Self {
        Self { blocks: 7, ..Self::default() }
    }

    /// 56 layers: 0.85 M parameters.
    pub fn resnet56() -> Self {
        Self { blocks: 9, ..Self::default() }
    }

    /// 110 layers: 1.73 M parameters.
    pub fn resnet110() -> Self {
        Self { blocks: 18, ..Self::default() }
    }

    /// The same network with nothing around its blocks.
    pub fn plain(self) -> Self {
        Self { residual: false, ..self }
    }

    /// The number of layers, 6 · blocks + 2.
    pub fn depth(&self) -> usize {
        6 * self.blocks + 2
    }

    /// A block from and to so many channels.
    fn block(&self, [from, to]: [usize; 2], stride: usize, vb: VarBuilder) -> Result<Block> {
        let Self { shortcut, norm, activation, zero_init_residual, .. } = *self;
        if self.residual {
            let config = BasicBlockConfig {
                stride,
                shortcut,
                squeeze_excite: None,
                norm,
                activation,
                zero_init_residual,
            };
            return Ok(Block::Residual(Box::new(basic_block(from, to, config, vb)?)));
        }
        let config = ConvNormConfig { norm, activation, ..Default::default() };
        let first = ConvNormConfig { stride, ..config };
        Ok(Block::Plain(Box::new([
            conv_norm(from, to, 3, first, vb.pp("conv1"), vb.pp("bn1"))?,
            conv_norm(to, to, 3, config, vb.pp("conv2"), vb.pp("bn2"))?,
        ])))
    }
}

/// A network of `vb`'s parameters `conv1`, `bn1`, `layer1` to `layer3` and `fc`; see [`CifarResNet`].
pub fn cifar_resnet(config: CifarResNetConfig, vb: VarBuilder) -> Result<CifarResNet> {
    const NAME: &str = "cifar_resnet";
    let CifarResNetConfig { in_channels, num_classes, blocks, width, norm, activation, .. } =
        config;
    if blocks == 0 {
        return Err(Error::argument(NAME, "blocks", "at least 1 of each stage", blocks));
    }
    if config.zero_init_residual && !config.residual {
        let expected = "false in a plain network, of which nothing would be left";
        return Err(Error::argument(NAME, "zero_init_residual", expected, true));
    }
    let stem = ConvNormConfig { norm, activation, ..Default::default() };
    let conv1 = conv_norm(in_channels, width, 3, stem, vb.pp("conv1"), vb.pp("bn1"))?;
    let mut channels = width;
    let mut stages = Vec::with_capacity(3);
    for at in 0..3 {
        let vb = vb.pp(format!("layer{}", at + 1));
        let to = width << at;
        let mut stage = Vec::with_capacity(blocks);
        for block in 0..blocks {
            let stride = if at > 0 && block == 0 { 2 } else { 1 };
            stage.push(config.block([channels, to], stride, vb.pp(block))?);
            channels = to;
        }
        stages.push(stage);
    }
    let average = AdaptiveAvgPool2d::new(1)?;
    let fc = linear(channels, num_classes, LinearConfig::default(), vb.pp("fc"))?;
    Ok(CifarResNet { conv1, stages, average, fc })
}

/// The residual network of the paper's experiments with CIFAR-10, of 6 n + 2 layers, or the plain network of that depth.
///
/// # Equation
/// y = W · mean over all places of (stage₃ ∘ stage₂ ∘ stage₁ ∘ stem)(x) + b. Each stage is a row of n
/// basic blocks ([`BasicBlock`]), in the plain network of n pairs of convolutions with nothing around them; the first block of the
/// second and third has stride 2:
///
/// ```text
///             rows   with w = width = 16
///     stem      32   3×3, w
///     layer1    32   3×3,   w ; 3×3,   w   × n
///     layer2    16   3×3, 2 w ; 3×3, 2 w   × n
///     layer3     8   3×3, 4 w ; 3×3, 4 w   × n
///     avgpool    1   mean of all places
///     fc             4 w → num_classes
/// ```
///
/// It has 6 n + 2 layers. With c = in_channels, k = num_classes and shortcuts without parameters, it has 9 w² (42 n − 10) weights
/// in its blocks, 9 c·w in the stem, 2 w (14 n + 1) numbers in its norms and 4 w·k + k in its classifier, and for an image of
/// H × W (multiples of 4) it costs (9 w² (6 n − 1) + 9 c·w) · H · W + 4 w·k MACs. For an image of 32x32:
///
/// | | n | depth | parameters | in the paper | MACs |
/// |---|---|---|---|---|---|
/// | [`resnet20`](CifarResNetConfig::resnet20) | 3 | 20 | 269,722 | 0.27 M | 40,551,040 |
/// | [`resnet32`](CifarResNetConfig::resnet32) | 5 | 32 | 464,154 | 0.46 M | 68,862,592 |
/// | [`resnet44`](CifarResNetConfig::resnet44) | 7 | 44 | 658,586 | 0.66 M | 97,174,144 |
/// | [`resnet56`](CifarResNetConfig::resnet56) | 9 | 56 | 853,018 | 0.85 M | 125,485,696 |
/// | [`resnet110`](CifarResNetConfig::resnet110) | 18 | 110 | 1,727,962 | 1.7 M | 252,887,680 |
///
/// The plain network of the same n has exactly the same parameters and MACs.
///
/// # Shapes
/// x (N, in_channels, H, W), of any size, to y (N, num_classes). The last stage has ⌈H / 4⌉ × ⌈W / 4⌉ places.
///
/// # Parameters
/// Of [`CifarResNetConfig`]:
/// - `in_channels`: 3; `num_classes`: 10; at least 1.
/// - `blocks` n: 3, of each stage; at least 1.
/// - `width` w: 16; at least 1.
/// - `residual`: true. With false ([`CifarResNetConfig::plain`]) it is the plain network, and `shortcut` says nothing.
/// - `shortcut`: [`Shortcut::Padded`], the paper's option A.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation`: [`Activation::Relu`].
/// - `zero_init_residual`: false.
///
/// # Numerics
/// Those of its blocks. On the CPU the zeros of a padded shortcut cost a copy of x.
///
/// # Deviations
/// 1. From the paper: the classifier begins as PyTorch's linear layer does.
/// 2. From torchvision, which has no such network: its names of parameters, with three stages.
///
/// # Errors
/// [`cifar_resnet`] refuses 0 blocks, sizes of 0, and `zero_init_residual` in a plain network; `forward_t` an x of other channels,
/// and in training what the norm refuses.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition, section 4.2 and table 6,
///   <https://arxiv.org/abs/1512.03385>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{CifarResNetConfig, cifar_resnet, meta, summary};
/// use taper_core::{Parameters, stream};
///
/// for config in [CifarResNetConfig::resnet56(), CifarResNetConfig::resnet56().plain()] {
///     let total = summary(&cifar_resnet(config, meta(DType::F32))?, &[1, 3, 32, 32])?.total;
///     assert_eq!((total.cost.parameters, total.cost.macs), (853_018, 125_485_696));
///     assert_eq!(total.depth, 56);
/// }
///
/// // For grey images of 8x8.
/// let config = CifarResNetConfig { in_channels: 1, width: 4, ..CifarResNetConfig::resnet20() };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = cifar_resnet(config, parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 1, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward_t(&x, true)?.dims(), [2, 10]);
/// assert_eq!(network.features_t(&x, false)?.dims(), [2, network.num_features()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct CifarResNet {
    conv1: ConvNorm,
    stages: Vec<Vec<Block>>,
    average: AdaptiveAvgPool2d,
    fc: Linear,
}

impl CifarResNet {
    /// What the classifier sees: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let mut y = self.conv1.forward_t(x, train)?;
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

impl ModuleT for CifarResNet {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.fc.forward(&self.features_t(x, train)?)
    }
}

impl Counted for CifarResNet {
    fn kind(&self) -> &'static str {
        "CifarResNet"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let mut y = self.conv1.count_as(["conv1", "bn1"], x, None, counter)?;
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
    Residual(Box<BasicBlock>),
    Plain(Box<[ConvNorm; 2]>),
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        match self {
            Self::Residual(block) => block.forward_t(x, train),
            Self::Plain(convolutions) => {
                let [conv1, conv2] = &**convolutions;
                conv2.forward_t(&conv1.forward_t(x, train)?, train)
            }
        }
    }
}

impl Counted for Block {
    fn kind(&self) -> &'static str {
        match self {
            Self::Residual(block) => block.kind(),
            Self::Plain(_) => "PlainBlock",
        }
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        match self {
            Self::Residual(block) => block.count(x, counter),
            Self::Plain(convolutions) => {
                let [conv1, conv2] = &**convolutions;
                let y = conv1.count_as(["conv1", "bn1"], x, None, counter)?;
                conv2.count_as(["conv2", "bn2"], &y, None, counter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::{Total, meta, summary};

    fn total(config: CifarResNetConfig, size: usize) -> Result<Total> {
        let network = cifar_resnet(config, meta(DType::F32))?;
        Ok(summary(&network, &[1, config.in_channels, size, size])?.total)
    }

    #[test]
    fn parameters_are_those_of_table_6() -> Result<()> {
        for (config, depth, parameters, of_paper) in [
            (CifarResNetConfig::resnet20(), 20, 269_722, "0.27"),
            (CifarResNetConfig::resnet32(), 32, 464_154, "0.46"),
            (CifarResNetConfig::resnet44(), 44, 658_586, "0.66"),
            (CifarResNetConfig::resnet56(), 56, 853_018, "0.85"),
            (CifarResNetConfig::resnet110(), 110, 1_727_962, "1.7"),
        ] {
            let total = total(config, 32)?;
            assert_eq!((config.depth(), total.depth), (depth, depth as u64));
            assert_eq!(total.cost.parameters, parameters);
            let digits = of_paper.len() - 2;
            assert_eq!(format!("{:.digits$}", parameters as f64 / 1e6), of_paper);
        }
        Ok(())
    }

    #[test]
    fn counts_are_those_of_the_formula_also_of_the_plain_network() -> Result<()> {
        for (blocks, width, in_channels, classes, size) in
            [(3, 16, 3, 10, 32), (18, 16, 3, 100, 32), (1, 4, 1, 10, 8), (4, 6, 2, 3, 20)]
        {
            let residual = CifarResNetConfig {
                blocks,
                width,
                in_channels,
                num_classes: classes,
                ..Default::default()
            };
            let numbers = [blocks, width, in_channels, classes, size].map(|it| it as u64);
            let [n, w, c, k, size] = numbers;
            let weights = 9 * w * w * (42 * n - 10) + 9 * c * w;
            let parameters = weights + 2 * w * (14 * n + 1) + 4 * w * k + k;
            let macs = (9 * w * w * (6 * n - 1) + 9 * c * w) * size * size + 4 * w * k;
            let of_residual = total(residual, size as usize)?;
            let of_plain = total(residual.plain(), size as usize)?;
            for total in [of_residual, of_plain] {
                assert_eq!((total.cost.parameters, total.cost.macs), (parameters, macs));
                assert_eq!((total.depth, total.cost.nonlinearities), (6 * n + 2, 6 * n + 1));
            }
            assert_eq!(of_residual.receptive_field, of_plain.receptive_field);
            assert!(of_residual.cost.flops > of_plain.cost.flops);
        }
        Ok(())
    }

    #[test]
    fn bad_input_is_named() {
        let refused = |config| match cifar_resnet(config, meta(DType::F32)) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let twenty = CifarResNetConfig::resnet20();
        assert_eq!(
            refused(CifarResNetConfig { blocks: 0, ..twenty }),
            "cifar_resnet: blocks should be at least 1 of each stage, got 0"
        );
        assert_eq!(
            refused(CifarResNetConfig { zero_init_residual: true, ..twenty.plain() }),
            "cifar_resnet: zero_init_residual should be false in a plain network, of which nothing would be left, got true"
        );
    }
}
