//! VGG.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{
    Activation, AdaptiveAvgPool2d, Conv2dConfig, Dropout, Error, Initializer, Linear, LinearConfig,
    MaxPool2d, MaxPool2dConfig, Result, Stream, linear,
};
use taper_norm::{BatchNormConfig, NormConfig};

use super::expect_size;
use crate::block::{HE, conv_norm_of};
use crate::{ConvNorm, Counted, Counter, Flow};

/// What a [`Vgg`] ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum VggHead {
    /// Means of 7x7 parts of the image, and three linear layers.
    Large {
        /// Features of the first two.
        features: usize,
    },
    /// The mean of all places, and one linear layer, for small images.
    Small,
}

/// How [`vgg`] makes a network; the default is [`VggConfig::vgg11`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VggConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// Convolutions of each stage; a stage of none is left out with its pooling.
    pub depths: [usize; 5],
    /// Channels of the first stage; the others have 2, 4, 8 and 8 times as many.
    pub width: usize,
    /// What comes behind the stages.
    pub head: VggHead,
    /// The probability that a hidden feature of the large head is left out in training.
    pub dropout: f64,
    /// What normalises behind the convolutions.
    pub norm: NormConfig,
    /// What follows each layer but the last.
    pub activation: Activation,
}

impl Default for VggConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 1000,
            depths: [1, 1, 2, 2, 2],
            width: 64,
            head: VggHead::Large { features: 4096 },
            dropout: 0.5,
            norm: NormConfig::None,
            activation: Activation::Relu,
        }
    }
}

impl VggConfig {
    /// 11 layers, the paper's A.
    pub fn vgg11() -> Self {
        Self::default()
    }

    /// 13 layers, the paper's B.
    pub fn vgg13() -> Self {
        Self { depths: [2, 2, 2, 2, 2], ..Self::default() }
    }

    /// 16 layers, the paper's D.
    pub fn vgg16() -> Self {
        Self { depths: [2, 2, 3, 3, 3], ..Self::default() }
    }

    /// 19 layers, the paper's E.
    pub fn vgg19() -> Self {
        Self { depths: [2, 2, 4, 4, 4], ..Self::default() }
    }

    /// The same network with batch normalization: torchvision's `vgg11_bn` to `vgg19_bn`.
    pub fn batch_norm(self) -> Self {
        Self { norm: NormConfig::Batch(BatchNormConfig::default()), ..self }
    }
}

/// How the linear layers begin, whose biases begin as 0.
const INIT: Initializer = Initializer::Normal { mean: 0.0, std: 0.01 };

/// A network of `vb`'s parameters `features` and `classifier`, numbered as torchvision's; see [`Vgg`].
pub fn vgg(config: VggConfig, vb: VarBuilder) -> Result<Vgg> {
    let (features, channels) = features(&config, vb.pp("features"))?;
    let VggConfig { num_classes, activation, .. } = config;
    let zero = Some(Initializer::Constant(0.0));
    let last = LinearConfig { weight_init: INIT, bias_init: zero, ..Default::default() };
    let hidden = LinearConfig { activation, ..last };
    let dropout = Dropout::new(config.dropout)?;
    let classifier = vb.pp("classifier");
    let (parts, hidden, inputs) = match config.head {
        VggHead::Large { features } => {
            let first = linear(channels * 49, features, hidden, classifier.pp(0))?;
            (7, vec![first, linear(features, features, hidden, classifier.pp(3))?], features)
        }
        VggHead::Small => (1, Vec::new(), channels),
    };
    let name = 3 * hidden.len();
    let average = AdaptiveAvgPool2d::new(parts)?;
    let last = linear(inputs, num_classes, last, classifier.pp(name))?;
    Ok(Vgg { features, average, hidden, dropout, last })
}

/// The convolutions and poolings with their numbers, and the channels that come out.
fn features(config: &VggConfig, vb: VarBuilder) -> Result<(Vec<(usize, Layer)>, usize)> {
    let VggConfig { in_channels, depths, width, norm, activation, .. } = *config;
    if depths == [0; 5] {
        let expected = "at least one stage of at least one convolution";
        return Err(Error::argument("vgg", "depths", expected, format!("{depths:?}")));
    }
    let conv = Conv2dConfig {
        padding: 1.into(),
        weight_init: HE,
        bias_init: Some(Initializer::Constant(0.0)),
        activation,
        ..Default::default()
    };
    // A convolution, its norm and its activation have a number each.
    let numbers = if matches!(norm, NormConfig::None) { 2 } else { 3 };
    let (mut layers, mut number, mut channels) = (Vec::new(), 0, in_channels);
    for (depth, times) in depths.into_iter().zip([1, 2, 4, 8, 8]).filter(|(depth, _)| *depth > 0) {
        for _ in 0..depth {
            let vbs = [vb.pp(number), vb.pp(number + 1)];
            let layer = conv_norm_of([channels, times * width], 3.into(), conv, norm, vbs)?;
            layers.push((number, Layer::Convolution(Box::new(layer))));
            channels = times * width;
            number += numbers;
        }
        layers.push((number, Layer::Pool(MaxPool2d::new(2, MaxPool2dConfig::default())?)));
        number += 1;
    }
    Ok((layers, channels))
}

/// VGG: rows of 3x3 convolutions, poolings between them, and linear layers.
///
/// # Equation
/// y = head(stage₅(… stage₁(x))), each stage a row of 3x3 convolutions with biases, and a pooling:
///
/// ```text
///               rows   with w = width = 64     11   13   16   19
///     stage 1    224   3×3,   w                ×1   ×2   ×2   ×2
///                112   max 2×2
///     stage 2    112   3×3, 2 w                ×1   ×2   ×2   ×2
///                 56   max 2×2
///     stage 3     56   3×3, 4 w                ×2   ×2   ×3   ×4
///                 28   max 2×2
///     stage 4     28   3×3, 8 w                ×2   ×2   ×3   ×4
///                 14   max 2×2
///     stage 5     14   3×3, 8 w                ×2   ×2   ×3   ×4
///                  7   max 2×2
///     head         7   means of 7×7 parts
///                      8 w · 49 → 4096 ── dropout ── 4096 → 4096 ── dropout ── 4096 → 1000
///     or, small    1   mean of all places
///                      8 w → num_classes
/// ```
///
/// It has as many layers as convolutions, and three more, one with the small head. For an image of 224x224:
///
/// | | parameters | with batch normalization | MACs |
/// |---|---|---|---|
/// | [`vgg11`](VggConfig::vgg11) | 132,863,336 | 132,868,840 | 7,609,090,048 |
/// | [`vgg13`](VggConfig::vgg13) | 133,047,848 | 133,053,736 | 11,308,466,176 |
/// | [`vgg16`](VggConfig::vgg16) | 138,357,544 | 138,365,992 | 15,470,264,320 |
/// | [`vgg19`](VggConfig::vgg19) | 143,667,240 | 143,678,248 | 19,632,062,464 |
///
/// Of these the large head has 123,642,856. With the small one and 10 classes VGG-16 has 14,719,818, and costs 313,201,664 MACs for
/// an image of 32x32.
///
/// # Shapes
/// x (N, in_channels, H, W) with H and W of at least 2 for each stage, 32 for five, to y (N, num_classes).
///
/// # Parameters
/// Of [`VggConfig`]:
/// - `in_channels`: 3; `num_classes`: 1000; at least 1.
/// - `depths`: \[1, 1, 2, 2, 2\] convolutions, at least one in all. A stage of none is left out with its pooling: with
///   \[2, 2, 4, 4, 0\] the network takes images of 16 rows.
/// - `width` w: 64; at least 1.
/// - `head`: [`VggHead::Large`] of 4096 features, at least 1; [`VggHead::Small`] for small images.
/// - `dropout`: 0.5, in [0, 1), behind both hidden layers of the large head.
/// - `norm`: [`NormConfig::None`]; [`VggConfig::batch_norm`] gives torchvision's networks with it.
/// - `activation`: [`Activation::Relu`].
///
/// Convolutions begin as N(0, 2 / fan_out), linear layers as N(0, 0.01²), biases as 0.
///
/// # Numerics
/// Those of its layers. A bias in front of batch normalization changes nothing, as the mean takes it away, and has a gradient of
/// rounding errors; it is there since torchvision's state dicts have it.
///
/// # Deviations
/// 1. From torchvision: the small head, `classifier.0`; any norm. With the large head and width 64 the names and shapes are the same.
/// 2. From the paper: its weights begin as N(0, 0.01²) or with those of a smaller network; its configurations A-LRN and C are
///    not named (A-LRN is `vgg11` with a local response norm behind each convolution rather than the first).
/// 3. The stream of dropout is an argument of [`forward_t`](Vgg::forward_t), so the network is no `ModuleT`.
///
/// # Errors
/// [`vgg`] refuses a network without a convolution, sizes of 0 and a dropout outside [0, 1); `forward_t` an x of other channels or of
/// which the last pooling would get no two rows, and in training what the norm refuses.
///
/// # References
/// - Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition, table 1,
///   <https://arxiv.org/abs/1409.1556>.
/// - `torchvision.models.vgg`, <https://docs.pytorch.org/vision/stable/models/vgg.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::{VggConfig, VggHead, meta, summary, vgg};
/// use taper_core::{Parameters, stream};
///
/// let total = summary(&vgg(VggConfig::vgg16(), meta(DType::F32))?, &[1, 3, 224, 224])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (138_357_544, 15_470_264_320));
/// assert_eq!(total.depth, 16);
///
/// // For small images, with batch normalization.
/// let small = VggConfig { num_classes: 10, width: 8, head: VggHead::Small, ..VggConfig::vgg11() };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = vgg(small.batch_norm(), parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// let mut noise = stream(0, "dropout");
/// assert_eq!(network.forward_t(&x, true, &mut noise)?.dims(), [2, 10]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Vgg {
    features: Vec<(usize, Layer)>,
    average: AdaptiveAvgPool2d,
    hidden: Vec<Linear>,
    dropout: Dropout,
    last: Linear,
}

#[derive(Debug, Clone)]
enum Layer {
    Convolution(Box<ConvNorm>),
    Pool(MaxPool2d),
}

impl Vgg {
    /// The output in training, with numbers for dropout drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        Ok(self.last.forward(&self.features_t(x, train, stream)?)?)
    }

    /// What the last layer sees: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.check(x.dims())?;
        let mut y = x.clone();
        for (_, layer) in &self.features {
            y = match layer {
                Layer::Convolution(layer) => layer.forward_t(&y, train)?,
                Layer::Pool(pool) => pool.forward(&y)?,
            };
        }
        y = self.average.forward(&y)?.flatten_from(1)?;
        for layer in &self.hidden {
            y = self.dropout.forward_t(&layer.forward(&y)?, train, stream)?;
        }
        Ok(y)
    }

    /// How many features the last layer sees.
    pub fn num_features(&self) -> usize {
        self.last.weight().dims().last().copied().unwrap_or(0)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        let pools = self.features.iter().filter(|(_, layer)| matches!(layer, Layer::Pool(_)));
        let last = self.features.last().map_or(0, |(number, _)| *number);
        let last = format!("the last pooling, features.{last},");
        expect_size("Vgg", dims, 1 << pools.count(), &last)
    }
}

impl Counted for Vgg {
    fn kind(&self) -> &'static str {
        "Vgg"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.check(x.dims())?;
        let y = counter.group("features", "Sequential", |counter| {
            let mut y = x.clone();
            for (number, layer) in &self.features {
                let names = [number.to_string(), (number + 1).to_string()];
                y = match layer {
                    Layer::Convolution(layer) => {
                        layer.count_as([&names[0], &names[1]], &y, None, counter)?
                    }
                    Layer::Pool(pool) => counter.layer(&names[0], pool, &y)?,
                };
            }
            Ok(y)
        })?;
        let y = counter.layer("avgpool", &self.average, &y)?.flattened();
        counter.group("classifier", "Sequential", |counter| {
            let mut y = y.clone();
            for (at, layer) in self.hidden.iter().chain([&self.last]).enumerate() {
                y = counter.layer(&(3 * at).to_string(), layer, &y)?;
            }
            Ok(y)
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::{Summary, meta, summary};

    fn counted(config: VggConfig, size: usize) -> Result<Summary> {
        summary(&vgg(config, meta(DType::F32))?, &[1, config.in_channels, size, size])
    }

    #[test]
    fn depth_is_that_of_the_name_and_the_head_is_most_of_it() -> Result<()> {
        for (config, depth) in [
            (VggConfig::vgg11(), 11),
            (VggConfig::vgg13(), 13),
            (VggConfig::vgg16(), 16),
            (VggConfig::vgg19(), 19),
        ] {
            let counted = counted(config, 224)?;
            assert_eq!(counted.total.depth, depth);
            let head = counted.rows.iter().find(|row| row.name == "classifier");
            assert_eq!(head.map(|row| row.cost.parameters), Some(123_642_856));
        }
        let small = VggConfig { head: VggHead::Small, num_classes: 10, ..VggConfig::vgg16() };
        let cost = counted(small, 32)?.total.cost;
        assert_eq!((cost.parameters, cost.macs), (14_719_818, 313_201_664));
        Ok(())
    }

    #[test]
    fn a_stage_of_none_is_left_out_with_its_pooling() -> Result<()> {
        let config = VggConfig {
            in_channels: 1,
            num_classes: 2,
            depths: [1, 1, 0, 1, 0],
            width: 3,
            head: VggHead::Small,
            ..Default::default()
        };
        let counted = counted(config, 8)?;
        // Of 1, 3, 6 and 24 channels; 64, 16 and 4 places.
        let weights = [9 * 3, 9 * 3 * 6, 9 * 6 * 24];
        assert_eq!(
            counted.total.cost.parameters,
            weights.iter().sum::<u64>() + (3 + 6 + 24) + 24 * 2 + 2
        );
        assert_eq!(
            counted.total.cost.macs,
            weights[0] * 64 + weights[1] * 16 + weights[2] * 4 + 48
        );
        assert_eq!((counted.total.depth, counted.total.cost.nonlinearities), (4, 3));
        Ok(())
    }

    #[test]
    fn dropout_is_of_training_and_of_its_stream() -> Result<()> {
        let config = VggConfig {
            num_classes: 4,
            depths: [1, 0, 0, 0, 0],
            width: 4,
            head: VggHead::Large { features: 32 },
            ..Default::default()
        };
        let parameters = Parameters::new(&stream(0, "init"));
        let network = vgg(config, parameters.builder(DType::F32, &Device::Cpu))?;
        let x = stream(1, "x").normal(0.0, 1.0, (2, 3, 8, 8), DType::F32, &Device::Cpu)?;
        let run = |seed, train| -> Result<Vec<f32>> {
            let y = network.features_t(&x, train, &mut stream(seed, "dropout"))?;
            Ok(y.flatten_all()?.to_vec1()?)
        };
        assert_eq!(run(1, true)?, run(1, true)?);
        assert_ne!(run(1, true)?, run(2, true)?);
        assert_eq!(run(1, false)?, run(2, false)?);
        Ok(())
    }

    #[test]
    fn bad_input_is_named() -> Result<()> {
        let none = VggConfig { depths: [0; 5], ..Default::default() };
        assert_eq!(
            vgg(none, meta(DType::F32)).unwrap_err().to_string(),
            "vgg: depths should be at least one stage of at least one convolution, got [0, 0, 0, 0, 0]"
        );
        let network = vgg(VggConfig::vgg11(), meta(DType::F32))?;
        let x = Tensor::zeros((1, 3, 40, 31), DType::F32, &Device::Cpu)?;
        let expected = "Vgg: x should be at least 32 rows and columns, of which the last pooling, features.20, still gets \
                        enough, got [1, 3, 40, 31]";
        let error = network.forward_t(&x, false, &mut stream(0, "dropout")).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(summary(&network, x.dims()).unwrap_err().to_string(), expected);
        Ok(())
    }
}
