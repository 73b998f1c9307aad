//! MobileNetV2.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{
    Activation, AdaptiveAvgPool2d, Dropout, Error, Initializer, Linear, LinearConfig, Result,
    Stream, linear,
};
use taper_norm::{BatchNormConfig, NormConfig};

use crate::{
    ConvNorm, ConvNormConfig, Counted, Counter, Flow, InvertedResidual, InvertedResidualConfig,
    conv_norm, inverted_residual,
};

/// How [`mobilenet_v2`] makes a network; the default is torchvision's `mobilenet_v2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MobileNetV2Config {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// What the numbers of channels are multiplied by.
    pub width_multiplier: f64,
    /// What they are then rounded to multiples of.
    pub round_to: usize,
    /// Whether the first convolution and the second stage move by 1 rather than 2.
    pub small_images: bool,
    /// The probability that a feature is left out in training.
    pub dropout: f64,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution but those to few channels.
    pub activation: Activation,
}

impl Default for MobileNetV2Config {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 1000,
            width_multiplier: 1.0,
            round_to: 8,
            small_images: false,
            dropout: 0.2,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu6,
        }
    }
}

/// Expansion, channels, blocks and stride of each stage: the paper's table 2.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// The multiple of `round_to` nearest to `width`, at least one of it and nine tenths of `width`.
fn divisible(width: f64, round_to: usize) -> usize {
    let nearest = (width + round_to as f64 / 2.0) as usize / round_to * round_to;
    let rounded = nearest.max(round_to);
    if (rounded as f64) < 0.9 * width { rounded + round_to } else { rounded }
}

/// A network of `vb`'s parameters `features` and `classifier.1`, numbered as torchvision's; see [`MobileNetV2`].
pub fn mobilenet_v2(config: MobileNetV2Config, vb: VarBuilder) -> Result<MobileNetV2> {
    const NAME: &str = "mobilenet_v2";
    let MobileNetV2Config { width_multiplier, round_to, small_images, norm, activation, .. } =
        config;
    if !(width_multiplier > 0.0 && width_multiplier.is_finite()) {
        let expected = "above 0 and finite";
        return Err(Error::argument(NAME, "width_multiplier", expected, width_multiplier));
    }
    if round_to == 0 {
        return Err(Error::argument(NAME, "round_to", "at least 1", 0));
    }
    let wide = |channels: usize| divisible(channels as f64 * width_multiplier, round_to);
    let features = vb.pp("features");
    let plain = ConvNormConfig { norm, activation, ..Default::default() };
    let of_image = |stride| if small_images { 1 } else { stride };
    let stem = ConvNormConfig { stride: of_image(2), ..plain };
    let mut channels = wide(32);
    let at = features.pp(0);
    let first = conv_norm(config.in_channels, channels, 3, stem, at.pp(0), at.pp(1))?;
    let mut blocks = Vec::new();
    for (stage, [expansion, to, depth, stride]) in STAGES.into_iter().enumerate() {
        for block in 0..depth {
            let stride = match (block, stage) {
                (0, 1) => of_image(stride),
                (0, _) => stride,
                _ => 1,
            };
            let config = InvertedResidualConfig {
                stride,
                expansion,
                norm,
                activation,
                zero_init_residual: false,
            };
            let to = wide(to);
            blocks.push(inverted_residual(channels, to, config, features.pp(blocks.len() + 1))?);
            channels = to;
        }
    }
    let wide = divisible(1280.0 * width_multiplier.max(1.0), round_to);
    let at = features.pp(blocks.len() + 1);
    let last = conv_norm(channels, wide, 1, plain, at.pp(0), at.pp(1))?;
    let classifier = LinearConfig {
        weight_init: Initializer::Normal { mean: 0.0, std: 0.01 },
        bias_init: Some(Initializer::Constant(0.0)),
        ..Default::default()
    };
    Ok(MobileNetV2 {
        first,
        blocks,
        last,
        average: AdaptiveAvgPool2d::new(1)?,
        dropout: Dropout::new(config.dropout)?,
        classifier: linear(wide, config.num_classes, classifier, vb.pp("classifier").pp(1))?,
    })
}

/// MobileNetV2: inverted residuals, whose 3x3 convolutions are depthwise.
///
/// # Equation
/// y = W · dropout(mean over all places of features(x)) + b. At a width multiplier of 1:
///
/// ```text
///                        rows
///     features.0          112   3×3, in_channels → 32, stride 2
///     features.1          112   inverted residual of expansion 1,  16 channels
///     features.2 to 3      56   of expansion 6 from here on,       24   × 2
///     features.4 to 6      28                                      32   × 3
///     features.7 to 10     14                                      64   × 4
///     features.11 to 13    14                                      96   × 3
///     features.14 to 16     7                                     160   × 3
///     features.17           7                                     320
///     features.18           7   1×1, 320 → 1280
///                           1   mean of all places ── dropout
///     classifier.1              1280 → num_classes
/// ```
///
/// the first block of a stage with the stride that its rows need. It has 53 layers: 2 in the first block, 3 in the 16 others. With 1000
/// classes and for an image of 224x224:
///
/// | width multiplier | parameters | MACs |
/// |---|---|---|
/// | 0.35 | 1,677,128 | 59,285,808 |
/// | 0.5 | 1,968,680 | 97,131,840 |
/// | 0.75 | 2,636,424 | 209,069,792 |
/// | 1 | 3,504,872 | 300,774,272 |
/// | 1.4 | 6,108,776 | 582,195,824 |
///
/// # Shapes
/// x (N, in_channels, H, W), of any size, to y (N, num_classes). The last block has ⌈H / 32⌉ × ⌈W / 32⌉ places, for small images
/// ⌈H / 8⌉ × ⌈W / 8⌉.
///
/// # Parameters
/// Of [`MobileNetV2Config`]:
/// - `in_channels`: 3; `num_classes`: 1000; at least 1.
/// - `width_multiplier`: 1; above 0. The 1280 channels of the last convolution are multiplied by no less than 1.
/// - `round_to`: 8; at least 1. Numbers of channels are its multiples: the nearest, or the next where that is less than nine tenths.
/// - `small_images`: false. With true, the first convolution and `features.2` have stride 1.
/// - `dropout`: 0.2, in [0, 1).
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation`: [`Activation::Relu6`].
///
/// Convolutions begin as N(0, 2 / fan_out), the classifier as N(0, 0.01²), its bias as 0.
///
/// # Numerics
/// Those of its blocks. With batch normalization in training, β of the last norm of a block changes nothing: it is a shift that the
/// next 1x1 convolution hands to the next norm, which takes it away; its gradient is of rounding errors.
///
/// # Deviations
/// 1. From torchvision: any norm and activation, and the strides for small images. Otherwise names and shapes are the same.
/// 2. From the paper: dropout in front of the classifier, and the rounding to multiples of 8, both as in torchvision.
/// 3. The stream of dropout is an argument of [`forward_t`](MobileNetV2::forward_t), so the network is no `ModuleT`.
///
/// # Errors
/// [`mobilenet_v2`] refuses a width multiplier that is not above 0, sizes of 0 and a dropout outside [0, 1); `forward_t` an x of other
/// channels, and in training what the norm refuses.
///
/// # References
/// - Sandler, Howard, Zhu, Zhmoginov and Chen 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 2,
///   <https://arxiv.org/abs/1801.04381>.
/// - `torchvision.models.mobilenetv2`, <https://docs.pytorch.org/vision/stable/models/mobilenetv2.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::{MobileNetV2Config, meta, mobilenet_v2, summary};
/// use taper_core::{Parameters, stream};
///
/// let network = mobilenet_v2(MobileNetV2Config::default(), meta(DType::F32))?;
/// let total = summary(&network, &[1, 3, 224, 224])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (3_504_872, 300_774_272));
/// assert_eq!(total.depth, 53);
///
/// let config = MobileNetV2Config {
///     num_classes: 10,
///     width_multiplier: 0.25,
///     small_images: true,
///     ..Default::default()
/// };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = mobilenet_v2(config, parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward_t(&x, true, &mut stream(0, "dropout"))?.dims(), [2, 10]);
/// assert_eq!(network.features_t(&x, false)?.dims(), [2, network.num_features()]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MobileNetV2 {
    first: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    average: AdaptiveAvgPool2d,
    dropout: Dropout,
    classifier: Linear,
}

impl MobileNetV2 {
    /// The output in training, with numbers for dropout drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        let features = self.features_t(x, train)?;
        Ok(self.classifier.forward(&self.dropout.forward_t(&features, train, stream)?)?)
    }

    /// What the classifier sees, but for the dropout: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut y = self.first.forward_t(x, train)?;
        for block in &self.blocks {
            y = block.forward_t(&y, train)?;
        }
        y = self.last.forward_t(&y, train)?;
        Ok(self.average.forward(&y)?.flatten_from(1)?)
    }

    /// How many features the classifier sees.
    pub fn num_features(&self) -> usize {
        self.classifier.weight().dims().last().copied().unwrap_or(0)
    }
}

impl Counted for MobileNetV2 {
    fn kind(&self) -> &'static str {
        "MobileNetV2"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let y = counter.group("features", "Sequential", |counter| {
            let mut y = counter.layer("0", &self.first, x)?;
            for (at, block) in self.blocks.iter().enumerate() {
                y = counter.layer(&(at + 1).to_string(), block, &y)?;
            }
            counter.layer(&(self.blocks.len() + 1).to_string(), &self.last, &y)
        })?;
        let y = counter.layer("avgpool", &self.average, &y)?.flattened();
        counter.layer("classifier.1", &self.classifier, &y)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::{meta, summary};

    #[test]
    fn widths_are_rounded_as_torchvision_does() {
        // What `_make_divisible` returns.
        for (width, round_to, rounded) in [
            (32.0 * 0.35, 8, 16),
            (16.0 * 0.35, 8, 8),
            (24.0 * 0.35, 8, 8),
            (24.0 * 0.5, 8, 16),
            (96.0 * 0.75, 8, 72),
            (24.0 * 1.4, 8, 32),
            (1280.0 * 1.4, 8, 1792),
            (1.0, 8, 8),
            // The nearest, 8, is less than nine tenths.
            (11.0, 8, 16),
            (11.9, 4, 12),
            (11.4, 1, 11),
        ] {
            assert_eq!(divisible(width, round_to), rounded, "{width} to {round_to}");
        }
    }

    #[test]
    fn places_are_halved_five_times_or_three() -> Result<()> {
        for (small_images, places) in [
            (false, [17, 17, 9, 9, 5, 5, 5, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2]),
            (true, [33, 33, 33, 33, 17, 17, 17, 9, 9, 9, 9, 9, 9, 9, 5, 5, 5, 5, 5]),
        ] {
            let config = MobileNetV2Config { small_images, ..Default::default() };
            let counted = summary(&mobilenet_v2(config, meta(DType::F32))?, &[1, 3, 33, 33])?;
            let rows = counted.rows.iter().filter(|row| {
                row.level == 1 && matches!(row.kind.as_str(), "ConvNorm" | "InvertedResidual")
            });
            assert_eq!(rows.map(|row| row.output[2]).collect::<Vec<_>>(), places);
            // A pixel is enough.
            assert_eq!(
                summary(&mobilenet_v2(config, meta(DType::F32))?, &[1, 3, 1, 1])?.output,
                [1, 1000]
            );
        }
        Ok(())
    }

    #[test]
    fn bad_input_is_named() {
        let refused = |config| mobilenet_v2(config, meta(DType::F32)).unwrap_err().to_string();
        let plain = MobileNetV2Config::default();
        assert_eq!(
            refused(MobileNetV2Config { width_multiplier: 0.0, ..plain }),
            "mobilenet_v2: width_multiplier should be above 0 and finite, got 0"
        );
        assert_eq!(
            refused(MobileNetV2Config { width_multiplier: f64::NAN, ..plain }),
            "mobilenet_v2: width_multiplier should be above 0 and finite, got NaN"
        );
        assert_eq!(
            refused(MobileNetV2Config { round_to: 0, ..plain }),
            "mobilenet_v2: round_to should be at least 1, got 0"
        );
        assert_eq!(
            refused(MobileNetV2Config { dropout: 1.0, ..plain }),
            "Dropout::new: p should be in [0, 1), got 1"
        );
    }
}
