//! SqueezeNet.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{
    Activation, AdaptiveAvgPool2d, Conv2d, Conv2dConfig, Dropout, Error, FanMode, Initializer,
    MaxPool2d, MaxPool2dConfig, Nonlinearity, Result, Stream, conv2d,
};

use super::expect_size;
use crate::{Counted, Counter, Fire, FireConfig, Flow, fire};

/// How [`squeezenet`] makes a network; the default is torchvision's `squeezenet1_1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SqueezeNetConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// Channels of the first convolution.
    pub width: usize,
    /// Whether the first convolution moves by 1 rather than 2.
    pub small_images: bool,
    /// The probability that a feature is left out in training.
    pub dropout: f64,
    /// What follows each convolution.
    pub activation: Activation,
}

impl Default for SqueezeNetConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            num_classes: 1000,
            width: 64,
            small_images: false,
            dropout: 0.5,
            activation: Activation::Relu,
        }
    }
}

/// What comes behind the first convolution: a pooling, or a fire module by how many times wider than the first it is. Each has the
/// next number in the state dict, from 2 on.
const LAYERS: [Option<usize>; 11] =
    [None, Some(1), Some(1), None, Some(2), Some(2), None, Some(3), Some(3), Some(4), Some(4)];

/// A network of `vb`'s parameters `features` and `classifier.1`, numbered as torchvision's; see [`SqueezeNet`].
pub fn squeezenet(config: SqueezeNetConfig, vb: VarBuilder) -> Result<SqueezeNet> {
    let SqueezeNetConfig { in_channels, num_classes, width, small_images, activation, .. } = config;
    if width == 0 || !width.is_multiple_of(4) {
        let expected = "at least 4 and a multiple of it, as fire modules squeeze to a quarter";
        return Err(Error::argument("squeezenet", "width", expected, width));
    }
    let features = vb.pp("features");
    let conv = Conv2dConfig {
        weight_init: Initializer::KaimingUniform {
            mode: FanMode::FanIn,
            nonlinearity: Nonlinearity::Relu,
        },
        bias_init: Some(Initializer::Constant(0.0)),
        activation,
        ..Default::default()
    };
    let stride = if small_images { 1 } else { 2 };
    let first = Conv2dConfig { stride: stride.into(), ..conv };
    let halve = MaxPool2dConfig { stride: Some(2.into()), ceil_mode: true, ..Default::default() };
    let mut channels = width;
    let mut layers = Vec::with_capacity(LAYERS.len());
    for (at, times) in LAYERS.into_iter().enumerate() {
        let Some(times) = times else {
            layers.push(Layer::Pool(MaxPool2d::new(3, halve)?));
            continue;
        };
        let (squeeze, expand) = (times * width / 4, times * width);
        let block = fire(
            channels,
            squeeze,
            expand,
            expand,
            FireConfig { activation },
            features.pp(at + 2),
        )?;
        layers.push(Layer::Fire(Box::new(block)));
        channels = 2 * expand;
    }
    let last = Conv2dConfig { weight_init: Initializer::Normal { mean: 0.0, std: 0.01 }, ..conv };
    Ok(SqueezeNet {
        first: conv2d(in_channels, width, 3, first, features.pp(0))?,
        layers,
        dropout: Dropout::new(config.dropout)?,
        last: conv2d(channels, num_classes, 1, last, vb.pp("classifier").pp(1))?,
        average: AdaptiveAvgPool2d::new(1)?,
        least: if small_images { 10 } else { 17 },
    })
}

/// SqueezeNet 1.1: fire modules, and a 1x1 convolution in place of linear layers.
///
/// # Equation
/// y = mean over all places of f(W ⋆ features(x) + b), with
///
/// ```text
///                     rows   with w = width = 64
///     features.0       111   3×3, in_channels → w, stride 2
///     features.2        55   max 3×3, stride 2
///     features.3, 4     55   fire, w / 4 → 2 w             × 2
///     features.5        27   max 3×3, stride 2
///     features.6, 7     27   fire, 2 w / 4 → 4 w           × 2
///     features.8        13   max 3×3, stride 2
///     features.9, 10    13   fire, 3 w / 4 → 6 w           × 2
///     features.11, 12   13   fire, 4 w / 4 → 8 w           × 2
///     classifier.1      13   dropout ── 1×1, 8 w → num_classes ── f
///                        1   mean of all places
/// ```
///
/// where "s → 2 e" is a [fire module](Fire) that squeezes to s channels, and expands to e by each of its two convolutions. It has 18
/// layers. With 1000 classes it has 1,235,496 parameters, and costs 349,151,936 MACs for an image of 224x224.
///
/// # Shapes
/// x (N, in_channels, H, W), H and W at least 17, for small images 10, to y (N, num_classes).
///
/// # Parameters
/// Of [`SqueezeNetConfig`]:
/// - `in_channels`: 3; `num_classes`: 1000; at least 1.
/// - `width` w: 64; a multiple of 4.
/// - `small_images`: false. With true, the first convolution has stride 1.
/// - `dropout`: 0.5, in [0, 1), of each feature at each place.
/// - `activation` f: [`Activation::Relu`].
///
/// Convolutions begin as U(−b, b) with b = √(6 / fan_in), the last one as N(0, 0.01²), biases as 0.
///
/// # Numerics
/// Those of its layers.
///
/// # Deviations
/// 1. From the paper: its authors' version 1.1, which costs 2.4 times less than the paper's 1.0, with a first convolution of 64
///    kernels of 3x3 rather than 96 of 7x7, and earlier poolings.
/// 2. From torchvision: any width, and the stride for small images. With width 64 names and shapes are the same.
/// 3. The stream of dropout is an argument of [`forward_t`](SqueezeNet::forward_t), so the network is no `ModuleT`. It has no norm.
///
/// # Errors
/// [`squeezenet`] refuses a width that is no multiple of 4, sizes of 0 and a dropout outside [0, 1); `forward_t` an x of other channels
/// or of which the last pooling would get fewer than two rows or columns.
///
/// # References
/// - Iandola et al. 2016, SqueezeNet, <https://arxiv.org/abs/1602.07360>, and version 1.1 at
///   <https://github.com/forresti/SqueezeNet>.
/// - `torchvision.models.squeezenet`, <https://docs.pytorch.org/vision/stable/models/squeezenet.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::{SqueezeNetConfig, meta, squeezenet, summary};
/// use taper_core::{Parameters, stream};
///
/// let network = squeezenet(SqueezeNetConfig::default(), meta(DType::F32))?;
/// let total = summary(&network, &[1, 3, 224, 224])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (1_235_496, 349_151_936));
///
/// let config =
///     SqueezeNetConfig { num_classes: 10, width: 8, small_images: true, ..Default::default() };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let network = squeezenet(config, parameters.builder(DType::F32, &Device::Cpu))?;
/// let x = Tensor::ones((2, 3, 32, 32), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward_t(&x, true, &mut stream(0, "dropout"))?.dims(), [2, 10]);
/// assert_eq!(network.features(&x)?.dims(), [2, network.num_features(), 3, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SqueezeNet {
    first: Conv2d,
    layers: Vec<Layer>,
    dropout: Dropout,
    last: Conv2d,
    average: AdaptiveAvgPool2d,
    /// Rows and columns below which the last pooling gets none.
    least: usize,
}

#[derive(Debug, Clone)]
enum Layer {
    Pool(MaxPool2d),
    Fire(Box<Fire>),
}

impl SqueezeNet {
    /// The output in training, with numbers for dropout drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        let features = self.dropout.forward_t(&self.features(x)?, train, stream)?;
        Ok(self.average.forward(&self.last.forward(&features)?)?.flatten_from(1)?)
    }

    /// What the classifier sees: (N, [`num_features`](Self::num_features), H′, W′).
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        self.check(x.dims())?;
        let mut y = self.first.forward(x)?;
        for layer in &self.layers {
            y = match layer {
                Layer::Pool(pool) => pool.forward(&y)?,
                Layer::Fire(block) => block.forward(&y)?,
            };
        }
        Ok(y)
    }

    /// How many channels the classifier sees.
    pub fn num_features(&self) -> usize {
        self.last.weight().dims().get(1).copied().unwrap_or(0)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        expect_size("SqueezeNet", dims, self.least, "the last pooling, features.8,")
    }
}

impl Counted for SqueezeNet {
    fn kind(&self) -> &'static str {
        "SqueezeNet"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.check(x.dims())?;
        let y = counter.group("features", "Sequential", |counter| {
            let mut y = counter.layer("0", &self.first, x)?;
            for (at, layer) in self.layers.iter().enumerate() {
                let layer: &dyn Counted = match layer {
                    Layer::Pool(pool) => pool,
                    Layer::Fire(block) => &**block,
                };
                y = counter.layer(&(at + 2).to_string(), layer, &y)?;
            }
            Ok(y)
        })?;
        let y = counter.layer("classifier.1", &self.last, &y)?;
        Ok(counter.layer("avgpool", &self.average, &y)?.flattened())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::{meta, summary};

    #[test]
    fn counts_by_hand() -> Result<()> {
        let network = squeezenet(SqueezeNetConfig::default(), meta(DType::F32))?;
        let total = summary(&network, &[1, 3, 224, 224])?.total;
        // s (c + e + 9 e) weights and s + 2 e biases.
        let fire = |c: u64, s: u64, e: u64| s * (c + 10 * e) + s + 2 * e;
        let fires = fire(64, 16, 64)
            + fire(128, 16, 64)
            + fire(128, 32, 128)
            + fire(256, 32, 128)
            + fire(256, 48, 192)
            + fire(384, 48, 192)
            + fire(384, 64, 256)
            + fire(512, 64, 256);
        assert_eq!(total.cost.parameters, 28 * 64 + fires + 513 * 1000);
        assert_eq!((total.depth, total.cost.nonlinearities), (18, 1 + 8 * 3 + 1));
        Ok(())
    }

    #[test]
    fn the_least_image_is_as_said() -> Result<()> {
        for (small_images, least) in [(false, 17), (true, 10)] {
            let config =
                SqueezeNetConfig { num_classes: 2, width: 4, small_images, ..Default::default() };
            let parameters = Parameters::new(&stream(0, "init"));
            let network = squeezenet(config, parameters.builder(DType::F32, &Device::Cpu))?;
            let run = |rows: usize| {
                let x = Tensor::zeros((1, 3, rows, 40), DType::F32, &Device::Cpu)?;
                network.features(&x)
            };
            assert_eq!(run(least)?.dims()[2], 1);
            assert_eq!(
                run(least - 1).unwrap_err().to_string(),
                format!(
                    "SqueezeNet: x should be at least {least} rows and columns, of which the last pooling, features.8, still \
                     gets enough, got [1, 3, {}, 40]",
                    least - 1
                )
            );
            // It is what the layers ask for.
            let unchecked = SqueezeNet { least: 0, ..network.clone() };
            let x = Tensor::zeros((1, 3, least - 1, 40), DType::F32, &Device::Cpu)?;
            assert!(unchecked.features(&x).is_err());
        }
        Ok(())
    }

    #[test]
    fn bad_input_is_named() {
        let config = SqueezeNetConfig { width: 6, ..Default::default() };
        assert_eq!(
            squeezenet(config, meta(DType::F32)).unwrap_err().to_string(),
            "squeezenet: width should be at least 4 and a multiple of it, as fire modules squeeze to a quarter, got 6"
        );
    }
}
