//! LeNet-5.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{
    Activation, AvgPool2d, AvgPool2dConfig, Conv2dConfig, Error, Linear, LinearConfig, MaxPool2d,
    MaxPool2dConfig, Result, Size2d, linear,
};
use taper_norm::NormConfig;

use crate::block::conv_norm_of;
use crate::{ConvNorm, Counted, Counter, Flow};

/// How [`LeNet5`] halves an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeNetPool {
    /// By means of 2x2, as the paper does.
    #[default]
    Average,
    /// By the largest of 2x2.
    Max,
}

/// How [`lenet5`] makes a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeNet5Config {
    /// Channels of the image.
    pub in_channels: usize,
    /// Numbers that come out.
    pub num_classes: usize,
    /// The image's rows and columns.
    pub image: Size2d,
    /// Rows and columns of the kernels.
    pub kernel_size: usize,
    /// The zeros around the image.
    pub padding: usize,
    /// What halves the image.
    pub pool: LeNetPool,
    /// What normalises behind the convolutions.
    pub norm: NormConfig,
    /// What follows each layer but the last.
    pub activation: Activation,
}

impl Default for LeNet5Config {
    fn default() -> Self {
        Self {
            in_channels: 1,
            num_classes: 10,
            image: 28.into(),
            kernel_size: 5,
            padding: 2,
            pool: LeNetPool::Average,
            norm: NormConfig::None,
            activation: Activation::Tanh,
        }
    }
}

/// A network of `vb`'s parameters `conv1`, `conv2`, `fc1`, `fc2`, `fc3` and, with a norm, `bn1` and `bn2`; see [`LeNet5`].
pub fn lenet5(config: LeNet5Config, vb: VarBuilder) -> Result<LeNet5> {
    let LeNet5Config { in_channels, num_classes, image, kernel_size, padding, activation, .. } =
        config;
    let places = remaining(&config)?;
    let part = |channels, padding: usize, at: usize| {
        let conv = Conv2dConfig { padding: padding.into(), activation, ..Default::default() };
        let vbs = [vb.pp(format!("conv{at}")), vb.pp(format!("bn{at}"))];
        conv_norm_of(channels, kernel_size.into(), conv, config.norm, vbs)
    };
    let pool = match config.pool {
        LeNetPool::Average => Pool::Average(AvgPool2d::new(2, AvgPool2dConfig::default())?),
        LeNetPool::Max => Pool::Max(MaxPool2d::new(2, MaxPool2dConfig::default())?),
    };
    let hidden = LinearConfig { activation, ..Default::default() };
    Ok(LeNet5 {
        image: [in_channels, image.height, image.width],
        conv1: part([in_channels, 6], padding, 1)?,
        conv2: part([6, 16], 0, 2)?,
        pool,
        fc1: linear(16 * places, 120, hidden, vb.pp("fc1"))?,
        fc2: linear(120, 84, hidden, vb.pp("fc2"))?,
        fc3: linear(84, num_classes, LinearConfig::default(), vb.pp("fc3"))?,
    })
}

/// The places that the second pooling leaves.
fn remaining(config: &LeNet5Config) -> Result<usize> {
    let LeNet5Config { image, kernel_size, padding, .. } = *config;
    if kernel_size == 0 {
        return Err(Error::argument("lenet5", "kernel_size", "at least 1", 0));
    }
    let taken = kernel_size - 1;
    let of = |size: usize| {
        let first = (size + 2 * padding).checked_sub(taken)? / 2;
        Some(first.checked_sub(taken)? / 2).filter(|left| *left > 0)
    };
    match (of(image.height), of(image.width)) {
        (Some(height), Some(width)) => Ok(height * width),
        _ => {
            let least = (2 * (2 + taken) + taken).saturating_sub(2 * padding).max(1);
            let expected = format!(
                "at least {least} rows and columns with a kernel_size of {kernel_size} and a padding of {padding}, of which \
                 the second pooling leaves one"
            );
            let received = format!("({}, {})", image.height, image.width);
            Err(Error::argument("lenet5", "image", expected, received))
        }
    }
}

/// LeNet-5: two convolutions, each with a pooling, and three linear layers.
///
/// # Equation
/// y = W₃ f(W₂ f(W₁ pool(f(K₂ ⋆ pool(f(K₁ ⋆ x)))) + b₁) + b₂) + b₃, the convolutions with biases of their own:
///
/// ```text
///              rows   with k = kernel_size = 5 and padding 2
///     conv1      28   k×k, in_channels → 6
///     pool       14   2×2
///     conv2      10   k×k, 6 → 16
///     pool        5   2×2
///     fc1             16 · 5 · 5 → 120
///     fc2             120 → 84
///     fc3             84 → num_classes
/// ```
///
/// It has 5 layers. With c = in_channels and p places behind the second pooling it has 6 (k² c + 1) + 16 (6 k² + 1) numbers in its
/// convolutions and 120 (16 p + 1) + 84 · 121 + 85 · num_classes in its linear layers: 61,706 for MNIST, and 416,520 MACs.
///
/// # Shapes
/// x (N, in_channels, H, W), H and W those of `image`, to y (N, num_classes).
///
/// # Parameters
/// Of [`LeNet5Config`]:
/// - `in_channels`: 1; `num_classes`: 10; at least 1.
/// - `image`: 28 rows and columns; at least 3 k + 1 − 2 · padding.
/// - `kernel_size` k: 5; at least 1. 3 with padding 1 takes images of 8x8.
/// - `padding`: 2 zeros on each side of the image; 0 is for images of 32x32, as in the paper.
/// - `pool`: [`LeNetPool::Average`].
/// - `norm`: [`NormConfig::None`], any other, between convolution and activation.
/// - `activation` f: [`Activation::Tanh`].
///
/// # Numerics
/// Those of its layers.
///
/// # Deviations
/// 1. From the paper: each map of the second convolution sees all six before it, not the chosen ones of its table I; a pooling has
///    neither factor, bias nor squashing of its own (sub-sampling layers there have all three); the activation comes before the
///    pooling and is tanh(x), not 1.7159 tanh(2x / 3); the output is a linear layer for a softmax, not distances to patterns of
///    7x12 pixels. That makes 61,706 parameters of its 60,000.
/// 2. From the paper: parameters begin as in PyTorch, U(−b, b) with b = 1 / √fan_in; there it is 2.4 / fan_in.
/// 3. PyTorch has no such network; the names are those of its tutorial, which pools by maxima and rectifies.
///
/// # Errors
/// [`lenet5`] refuses an image of which nothing is left, and sizes of 0; `forward_t` an x of another shape, and in training what
/// the norm refuses.
///
/// # References
/// - LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition, section II.B.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{LeNet5Config, lenet5, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let network = lenet5(LeNet5Config::default(), vb)?;
/// let x = Tensor::ones((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(network.forward_t(&x, true)?.dims(), [2, 10]);
/// assert_eq!(network.features_t(&x, false)?.dims(), [2, network.num_features()]);
///
/// let total = summary(&network, &[1, 1, 28, 28])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs, total.depth), (61_706, 416_520, 5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LeNet5 {
    image: [usize; 3],
    conv1: ConvNorm,
    conv2: ConvNorm,
    pool: Pool,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

#[derive(Debug, Clone)]
enum Pool {
    Average(AvgPool2d),
    Max(MaxPool2d),
}

impl Pool {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Average(pool) => pool.forward(x),
            Self::Max(pool) => pool.forward(x),
        }
    }

    fn counted(&self) -> &dyn Counted {
        match self {
            Self::Average(pool) => pool,
            Self::Max(pool) => pool,
        }
    }
}

impl LeNet5 {
    /// What the last layer sees: (N, [`num_features`](Self::num_features)).
    pub fn features_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.check(x.dims())?;
        let y = self.pool.forward(&self.conv1.forward_t(x, train)?)?;
        let y = self.pool.forward(&self.conv2.forward_t(&y, train)?)?;
        self.fc2.forward(&self.fc1.forward(&y.flatten_from(1)?)?)
    }

    /// How many features the last layer sees.
    pub fn num_features(&self) -> usize {
        self.fc3.weight().dims().last().copied().unwrap_or(0)
    }

    fn check(&self, dims: &[usize]) -> Result<()> {
        match dims {
            [_, image @ ..] if *image == self.image => Ok(()),
            _ => {
                let [channels, height, width] = self.image;
                let expected = format!(
                    "(batch, {channels}, {height}, {width}), for which the layers are made"
                );
                Err(Error::argument("LeNet5", "x", expected, format!("{dims:?}")))
            }
        }
    }
}

impl ModuleT for LeNet5 {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.fc3.forward(&self.features_t(x, train)?)
    }
}

impl Counted for LeNet5 {
    fn kind(&self) -> &'static str {
        "LeNet5"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.check(x.dims())?;
        let y = self.conv1.count_as(["conv1", "bn1"], x, None, counter)?;
        let y = counter.layer("pool1", self.pool.counted(), &y)?;
        let y = self.conv2.count_as(["conv2", "bn2"], &y, None, counter)?;
        let y = counter.layer("pool2", self.pool.counted(), &y)?.flattened();
        let y = counter.layer("fc1", &self.fc1, &y)?;
        let y = counter.layer("fc2", &self.fc2, &y)?;
        counter.layer("fc3", &self.fc3, &y)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::{ReceptiveField, meta, summary};

    #[test]
    fn counts_by_hand() -> Result<()> {
        let network = lenet5(LeNet5Config::default(), meta(DType::F32))?;
        let counted = summary(&network, &[1, 1, 28, 28])?;
        let cost = counted.total.cost;
        assert_eq!(cost.parameters, 156 + 2_416 + 48_120 + 10_164 + 850);
        assert_eq!(cost.macs, 25 * 6 * 784 + 150 * 16 * 100 + 16 * 25 * 120 + 120 * 84 + 84 * 10);
        assert_eq!(cost.nonlinearities, 4);
        // 5, 6 behind the pooling, 4 · 2 more, and two more.
        let field = counted.rows.iter().find(|row| row.name == "pool2");
        let field = field.and_then(|row| row.receptive_field);
        assert_eq!(field, Some(ReceptiveField::Pixels { height: 16, width: 16 }));
        Ok(())
    }

    #[test]
    fn any_image_that_leaves_something() -> Result<()> {
        // The paper's; digits of 8x8; one that is not square, in colour.
        let papers = LeNet5Config { image: 32.into(), padding: 0, ..Default::default() };
        let digits =
            LeNet5Config { image: 8.into(), kernel_size: 3, padding: 1, ..Default::default() };
        let other = LeNet5Config { in_channels: 3, image: (12, 17).into(), ..Default::default() };
        for (config, places) in [(papers, 25), (digits, 1), (other, 2)] {
            let LeNet5Config { in_channels: c, kernel_size: k, image, .. } = config;
            let input = [1, c, image.height, image.width];
            let cost = summary(&lenet5(config, meta(DType::F32))?, &input)?.total.cost;
            let convolutions = 6 * (k * k * c + 1) + 16 * (6 * k * k + 1);
            let parameters = convolutions + 120 * (16 * places + 1) + 84 * 121 + 85 * 10;
            assert_eq!(cost.parameters, parameters as u64);
        }
        Ok(())
    }

    #[test]
    fn bad_input_is_named() -> Result<()> {
        let small = LeNet5Config { image: (28, 11).into(), ..Default::default() };
        assert_eq!(
            lenet5(small, meta(DType::F32)).unwrap_err().to_string(),
            "lenet5: image should be at least 12 rows and columns with a kernel_size of 5 and a padding of 2, of which the \
             second pooling leaves one, got (28, 11)"
        );
        let network = lenet5(LeNet5Config::default(), meta(DType::F32))?;
        let x = Tensor::zeros((1, 1, 32, 32), DType::F32, &Device::Cpu)?;
        let expected = "LeNet5: x should be (batch, 1, 28, 28), for which the layers are made, got [1, 1, 32, 32]";
        let error = network.forward_t(&x, false).unwrap_err().to_string();
        assert_eq!(error.lines().next(), Some(expected));
        assert_eq!(summary(&network, x.dims()).unwrap_err().to_string(), expected);
        Ok(())
    }
}
