//! ConvNeXt.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{
    Activation, AdaptiveAvgPool2d, Conv2d, Conv2dConfig, Error, Initializer, Linear, LinearConfig,
    Result, Stream, conv2d, linear,
};
use taper_norm::{ChannelLayerNormConfig, Norm, NormConfig, norm};

use super::expect_size;
use crate::block::{TRUNCATED, conv_norm_of};
use crate::{ConvNextBlock, ConvNextBlockConfig, ConvNorm, Counted, Counter, Flow, convnext_block};

/// How [`convnext`] makes a network; the default is [`ConvNextConfig::tiny`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvNextConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// Blocks of the four stages.
    pub depths: [usize; 4],
    /// Channels of the first stage; each further stage has twice as many.
    pub width: usize,
    /// Rows and columns of the image that become one place.
    pub patch_size: usize,
    /// The kernel of the depthwise convolutions; odd.
    pub kernel_size: usize,
    /// What γ of the blocks begins as; `None` is no layer scale.
    pub layer_scale: Option<f64>,
    /// The probability that the branch of the last block is left out in training; it rises to that from 0.
    pub drop_path: f64,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows the wide layer of a block.
    pub activation: Activation,
}

impl Default for ConvNextConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 1000,
            depths: [3, 3, 9, 3],
            width: 96,
            patch_size: 4,
            kernel_size: 7,
            layer_scale: Some(1e-6),
            drop_path: 0.1,
            norm: NormConfig::Layer(ChannelLayerNormConfig::default()),
            activation: Activation::Gelu,
        }
    }
}

impl ConvNextConfig {
    /// ConvNeXt-T: 28.59 M parameters, `drop_path` 0.1.
    pub fn tiny() -> Self {
        Self::default()
    }

    /// ConvNeXt-S: 50.22 M parameters, `drop_path` 0.4.
    pub fn small() -> Self {
        Self { depths: [3, 3, 27, 3], drop_path: 0.4, ..Self::default() }
    }

    /// ConvNeXt-B: 88.59 M parameters, `drop_path` 0.5.
    pub fn base() -> Self {
        Self { width: 128, drop_path: 0.5, ..Self::small() }
    }

    /// ConvNeXt-L: 197.77 M parameters, `drop_path` 0.5.
    pub fn large() -> Self {
        Self { width: 192, ..Self::base() }
    }

    /// A convolution that takes patches of an image apart.
    fn patches(&self, size: usize) -> Conv2dConfig {
        Conv2dConfig {
            stride: size.into(),
            weight_init: TRUNCATED,
            bias_init: Some(Initializer::Constant(0.0)),
            ..Default::default()
        }
    }

    /// The block that this many come before.
    fn block(&self, before: usize, channels: usize, vb: VarBuilder) -> Result<ConvNextBlock> {
        let Self { kernel_size, layer_scale, norm, activation, .. } = *self;
        let last = self.depths.iter().sum::<usize>().saturating_sub(1).max(1);
        let drop_path = self.drop_path * before as f64 / last as f64;
        let config = ConvNextBlockConfig {
            kernel_size,
            layer_scale,
            drop_path,
            norm,
            activation,
            ..Default::default()
        };
        convnext_block(channels, config, vb)
    }
}

/// A network of `vb`'s parameters `features` and `classifier`, numbered as torchvision's; see [`ConvNext`].
pub fn convnext(config: ConvNextConfig, vb: VarBuilder) -> Result<ConvNext> {
    const NAME: &str = "convnext";
    let ConvNextConfig { in_channels, num_classes, depths, width, patch_size, .. } = config;
    if depths.contains(&0) {
        let received = format!("{depths:?}");
        return Err(Error::argument(NAME, "depths", "at least 1 of each stage", received));
    }
    if !(0.0..1.0).contains(&config.drop_path) {
        return Err(Error::argument(NAME, "drop_path", "in [0, 1)", config.drop_path));
    }
    let features = vb.pp("features");
    let at = features.pp(0);
    let (stem, vbs) = (config.patches(patch_size), [at.pp(0), at.pp(1)]);
    let stem = conv_norm_of([in_channels, width], patch_size.into(), stem, config.norm, vbs)?;
    let (mut channels, mut before) = (width, 0);
    let mut stages = Vec::with_capacity(depths.len());
    for (at, depth) in depths.into_iter().enumerate() {
        let halve = if at > 0 {
            let vb = features.pp(2 * at);
            let norm = norm(channels, config.norm, vb.pp(0))?;
            let conv = conv2d(channels, 2 * channels, 2, config.patches(2), vb.pp(1))?;
            channels *= 2;
            Some((norm, conv))
        } else {
            None
        };
        let vb = features.pp(2 * at + 1);
        let mut blocks = Vec::with_capacity(depth);
        for block in 0..depth {
            blocks.push(config.block(before, channels, vb.pp(block))?);
            before += 1;
        }
        stages.push(Stage { halve, blocks });
    }
    let vb = vb.pp("classifier");
    let (weight_init, bias_init) = (TRUNCATED, Some(Initializer::Constant(0.0)));
    let classifier = LinearConfig { weight_init, bias_init, ..Default::default() };
    Ok(ConvNext {
        stem,
        stages,
        average: AdaptiveAvgPool2d::new(1)?,
        norm: norm(channels, config.norm, vb.pp(0))?,
        classifier: linear(channels, num_classes, classifier, vb.pp(2))?,
        least: 8 * patch_size,
    })
}

/// ConvNeXt: a network of convolutions in the form of a transformer.
///
/// # Equation
/// y = W · norm(mean over all places of features(x)) + b, with blocks ([`ConvNextBlock`]) of a depthwise convolution and two 1x1:
///
/// ```text
///                   rows   with w = width      tiny   small  base   large
///                          and patch_size 4    w 96   w 96   w 128  w 192
///     features.0      56   4×4, in_channels → w, stride 4 ── norm
///     features.1      56   block,   w          ×3     ×3     ×3     ×3
///     features.2      28   norm ── 2×2, w → 2 w, stride 2
///     features.3      28   block, 2 w          ×3     ×3     ×3     ×3
///     features.4      14   norm ── 2×2, 2 w → 4 w, stride 2
///     features.5      14   block, 4 w          ×9     ×27    ×27    ×27
///     features.6       7   norm ── 2×2, 4 w → 8 w, stride 2
///     features.7       7   block, 8 w          ×3     ×3     ×3     ×3
///                      1   mean of all places
///     classifier           norm ── 8 w → num_classes
/// ```
///
/// With d blocks in all it has 3 d + 5 layers. For an image of 224x224 and 1000 classes:
///
/// | | depth | parameters | MACs |
/// |---|---|---|---|
/// | [`tiny`](ConvNextConfig::tiny) | 59 | 28,589,128 | 4,455,531,264 |
/// | [`small`](ConvNextConfig::small) | 113 | 50,223,688 | 8,683,712,256 |
/// | [`base`](ConvNextConfig::base) | 113 | 88,591,464 | 15,354,729,472 |
/// | [`large`](ConvNextConfig::large) | 113 | 197,767,336 | 34,361,433,600 |
///
/// # Shapes
/// x (N, in_channels, H, W), H and W at least 8 · patch_size, to y (N, num_classes). What does not fill a patch is left out.
///
/// # Parameters
/// Of [`ConvNextConfig`]:
/// - `in_channels`: 3; `num_classes`: 1000; at least 1.
/// - `depths`: \[3, 3, 9, 3\] blocks; at least 1 of each stage.
/// - `width` w: 96; at least 1.
/// - `patch_size`: 4; at least 1. 1 is for images of some tens of rows.
/// - `kernel_size`: 7; odd.
/// - `layer_scale`: 1e-6, what γ of the blocks begins as; `None` leaves it out.
/// - `drop_path`: 0.1, in [0, 1): the probability of the last block. That of block i, from 0 on, is i / (d − 1) of it.
/// - `norm`: [`NormConfig::Layer`] over the channels of each place with eps 1e-6, any other.
/// - `activation`: [`Activation::Gelu`].
///
/// Weights begin as N(0, 0.02²) within [−2, 2], biases as 0.
///
/// # Numerics
/// Those of its blocks. Images stay (N, C, H, W) throughout.
///
/// # Deviations
/// 1. From torchvision: any widths, patches, kernels and norms. Otherwise names and shapes are the same, and the probabilities of
///    drop path those of its constructors, which are those of the paper's training on ImageNet-1K.
/// 2. The stream of drop path is an argument of [`forward_t`](ConvNext::forward_t), so the network is no `ModuleT`.
///
/// # Errors
/// [`convnext`] refuses a stage without blocks, sizes of 0, an even kernel and a `drop_path` outside [0, 1); `forward_t` an x of other
/// channels or of which the last stage would get nothing, and in training what the norm refuses.
///
/// # References
/// - Liu, Mao, Wu, Feichtenhofer, Darrell and Xie 2022, A ConvNet for the 2020s, table 9, <https://arxiv.org/abs/2201.03545>.
/// - `torchvision.models.convnext`, <https://docs.pytorch.org/vision/stable/models/convnext.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::{ConvNextConfig, convnext, meta, summary};
/// use taper_core::{Parameters, stream};
///
/// let network = convnext(ConvNextConfig::tiny(), meta(DType::F32))?;
/// let total = summary(&network, &[1, 3, 224, 224])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (28_589_128, 4_455_531_264));
/// assert_eq!(total.depth, 3 * 18 + 5);
///
/// let config = ConvNextConfig {
///     num_classes: 10,
///     depths: [1, 1, 2, 1],
///     width: 4,
///     patch_size: 1,
///     ..Default::default()
/// };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = convnext(config, parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 3, 16, 16), DType::F32, &Device::Cpu)?;
/// let mut noise = stream(0, "drop path");
/// assert_eq!(network.forward_t(&x, true, &mut noise)?.dims(), [2, 10]);
/// assert_eq!(network.features_t(&x, false, &mut noise)?.dims(), [2, network.num_features()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConvNext {
    stem: ConvNorm,
    stages: Vec<Stage>,
    average: AdaptiveAvgPool2d,
    norm: Norm,
    classifier: Linear,
    /// Rows and columns below which the last stage gets none.
    least: usize,
}

#[derive(Debug, Clone)]
struct Stage {
    halve: Option<(Norm, Conv2d)>,
    blocks: Vec<ConvNextBlock>,
}

impl ConvNext {
    /// The output in training, with numbers for drop path drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        Ok(self.classifier.forward(&self.features_t(x, train, stream)?)?)
    }

    /// What the last layer sees: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.check(x.dims())?;
        let mut y = self.stem.forward_t(x, train)?;
        for Stage { halve, blocks } in &self.stages {
            if let Some((norm, conv)) = halve {
                y = conv.forward(&norm.forward_t(&y, train)?)?;
            }
            for block in blocks {
                y = block.forward_t(&y, train, stream)?;
            }
        }
        let y = self.norm.forward_t(&self.average.forward(&y)?, train)?;
        Ok(y.flatten_from(1)?)
    }

    /// How many features the last layer sees.
    pub fn num_features(&self) -> usize {
        self.classifier.weight().dims().last().copied().unwrap_or(0)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        expect_size("ConvNext", dims, self.least, "the last convolution of stride 2, features.6.1,")
    }
}

impl Counted for ConvNext {
    fn kind(&self) -> &'static str {
        "ConvNext"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.check(x.dims())?;
        let mut y = counter.layer("features.0", &self.stem, x)?;
        for (at, Stage { halve, blocks }) in self.stages.iter().enumerate() {
            if let Some((norm, conv)) = halve {
                y = counter.group(&format!("features.{}", 2 * at), "Sequential", |counter| {
                    let y = counter.layer("0", norm, &y)?;
                    counter.layer("1", conv, &y)
                })?;
            }
            y = counter.group(&format!("features.{}", 2 * at + 1), "Stage", |counter| {
                let mut y = y.clone();
                for (at, block) in blocks.iter().enumerate() {
                    y = counter.layer(&at.to_string(), block, &y)?;
                }
                Ok(y)
            })?;
        }
        let y = counter.layer("avgpool", &self.average, &y)?;
        let y = counter.layer("classifier.0", &self.norm, &y)?.flattened();
        counter.layer("classifier.2", &self.classifier, &y)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::{meta, summary};

    #[test]
    fn depth_and_the_least_image() -> Result<()> {
        for (config, depth) in [
            (ConvNextConfig::tiny(), 59),
            (ConvNextConfig::small(), 113),
            (ConvNextConfig::base(), 113),
            (ConvNextConfig::large(), 113),
        ] {
            let network = convnext(config, meta(DType::F32))?;
            let total = summary(&network, &[1, 3, 32, 32])?.total;
            assert_eq!(total.depth, depth);
            let expected = "ConvNext: x should be at least 32 rows and columns, of which the last convolution of stride 2, \
                            features.6.1, still gets enough, got [1, 3, 31, 64]";
            let x = Tensor::zeros((1, 3, 31, 64), DType::F32, &Device::Cpu)?;
            let mut noise = stream(0, "drop path");
            let error = network.forward_t(&x, false, &mut noise).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(summary(&network, x.dims()).unwrap_err().to_string(), expected);
        }
        Ok(())
    }

    #[test]
    fn drop_path_is_of_training_and_of_its_stream() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let config = ConvNextConfig {
            in_channels: 1,
            depths: [1, 1, 2, 1],
            width: 4,
            patch_size: 1,
            layer_scale: Some(1.0),
            drop_path: 0.8,
            ..Default::default()
        };
        let network = convnext(config, parameters.builder(DType::F32, &Device::Cpu))?;
        let x = stream(1, "x").normal(0.0, 1.0, (8, 1, 9, 8), DType::F32, &Device::Cpu)?;
        let run = |seed, train| -> Result<Vec<f32>> {
            let y = network.features_t(&x, train, &mut stream(seed, "drop path"))?;
            Ok(y.flatten_all()?.to_vec1()?)
        };
        assert_eq!(run(1, true)?, run(1, true)?);
        assert_ne!(run(1, true)?, run(2, true)?);
        assert_eq!(run(1, false)?, run(2, false)?);
        Ok(())
    }

    #[test]
    fn bad_input_is_named() {
        let refused = |config| convnext(config, meta(DType::F32)).unwrap_err().to_string();
        let tiny = ConvNextConfig::tiny();
        assert_eq!(
            refused(ConvNextConfig { depths: [3, 3, 0, 3], ..tiny }),
            "convnext: depths should be at least 1 of each stage, got [3, 3, 0, 3]"
        );
        assert_eq!(
            refused(ConvNextConfig { drop_path: 1.0, ..tiny }),
            "convnext: drop_path should be in [0, 1), got 1"
        );
        assert_eq!(
            refused(ConvNextConfig { patch_size: 0, ..tiny }),
            "conv2d: kernel_size should be at least 1 in each direction, got 0 and 0"
        );
    }
}
