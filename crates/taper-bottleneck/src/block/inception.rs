//! GoogLeNet's inception module.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Error, MaxPool2d, MaxPool2dConfig, Result, concat};
use taper_norm::{BatchNormConfig, NormConfig};

use crate::{ConvNorm, ConvNormConfig, Counted, Counter, Flow, conv_norm};

/// How many channels the branches of an [`Inception`] have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InceptionWidths {
    /// The 1x1.
    pub one: usize,
    /// The 1x1 before the 3x3, and the 3x3.
    pub three: [usize; 2],
    /// The 1x1 before the largest convolution, and that one.
    pub five: [usize; 2],
    /// The 1x1 behind the pooling.
    pub pool: usize,
}

/// How [`inception`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InceptionConfig {
    /// The kernel size of the third branch.
    pub five_kernel: usize,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution.
    pub activation: Activation,
}

impl Default for InceptionConfig {
    fn default() -> Self {
        Self {
            five_kernel: 3,
            norm: NormConfig::Batch(BatchNormConfig { eps: 1e-3, ..Default::default() }),
            activation: Activation::Relu,
        }
    }
}

/// An inception module of `vb`'s parameters `branch1`, `branch2.0`, `branch2.1`, `branch3.0`, `branch3.1` and `branch4.1`, each
/// with `conv` and `bn`; see [`Inception`].
pub fn inception(
    in_channels: usize,
    widths: InceptionWidths,
    config: InceptionConfig,
    vb: VarBuilder,
) -> Result<Inception> {
    let InceptionConfig { five_kernel, norm, activation } = config;
    if five_kernel.is_multiple_of(2) {
        let expected = "odd, so that the branches keep the size of x";
        return Err(Error::argument("inception", "five_kernel", expected, five_kernel));
    }
    let part = |inputs, outputs, kernel: usize, name: &str| {
        let config = ConvNormConfig { norm, activation, ..Default::default() };
        let vb = vb.pp(name);
        conv_norm(inputs, outputs, kernel, config, vb.pp("conv"), vb.pp("bn"))
    };
    let InceptionWidths { one, three, five, pool } = widths;
    let pooling =
        MaxPool2dConfig { stride: Some(1.into()), padding: 1.into(), ..Default::default() };
    Ok(Inception {
        branch1: part(in_channels, one, 1, "branch1")?,
        branch2: [
            part(in_channels, three[0], 1, "branch2.0")?,
            part(three[0], three[1], 3, "branch2.1")?,
        ],
        branch3: [
            part(in_channels, five[0], 1, "branch3.0")?,
            part(five[0], five[1], five_kernel, "branch3.1")?,
        ],
        pool: MaxPool2d::new(3, pooling)?,
        branch4: part(in_channels, pool, 1, "branch4.1")?,
    })
}

/// GoogLeNet's inception module: convolutions of several sizes side by side, the large ones behind a 1x1 that makes the channels
/// few.
///
/// # Equation
/// Each convolution is followed by a norm and f; the four results stand one behind the other along the channels:
///
/// ```text
///        ┌── 1x1, c → a ─────────────────────────┐
///        ├── 1x1, c → r ────── 3x3, r → b ───────┤
///     x ─┤                                       ├── y
///        ├── 1x1, c → s ────── k×k, s → d ───────┤
///        └── maximum 3x3 ───── 1x1, c → e ───────┘
/// ```
///
/// with c = in_channels it has c (a + r + s + e) + 9 r·b + k² s·d weights and 2 (a + r + b + s + d + e) numbers in its norms, and
/// costs the weights times H · W MACs.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, a + b + d + e, H, W).
///
/// # Parameters
/// Of [`InceptionWidths`], at least 1 each:
/// - `one`: a.
/// - `three`: r and b.
/// - `five`: s and d.
/// - `pool`: e.
///
/// Of [`InceptionConfig`]:
/// - `five_kernel` k: 3, torchvision's; odd. 5 is the paper's.
/// - `norm`: [`NormConfig::Batch`] with an ε of 0.001, torchvision's; any other.
/// - `activation` f: [`Activation::Relu`].
///
/// # Numerics
/// Those of its layers.
///
/// # Deviations
/// 1. From the paper: the convolutions have norms and no biases, and its 5x5 is a 3x3 by default, both as in torchvision, whose
///    published weights are so. [`NormConfig::None`] and a `five_kernel` of 5 make the paper's.
/// 2. Convolutions begin as N(0, 2 / fan_out); torchvision's network draws them from a truncated normal distribution of standard
///    deviation 0.01.
///
/// # Errors
/// [`inception`] refuses an even `five_kernel` and sizes of 0; `forward_t` an x of other channels, and in training what the norm
/// refuses.
///
/// # References
/// - Szegedy et al. 2014, Going deeper with convolutions, figure 2b, <https://arxiv.org/abs/1409.4842>.
/// - `torchvision.models.googlenet.Inception`, <https://docs.pytorch.org/vision/stable/models/googlenet.html>; its kernel of 3:
///   <https://github.com/pytorch/vision/issues/906>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{InceptionConfig, InceptionWidths, inception, summary};
/// use taper_core::{Parameters, stream};
///
/// // The first one of GoogLeNet.
/// let widths = InceptionWidths { one: 64, three: [96, 128], five: [16, 32], pool: 32 };
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let config = InceptionConfig { five_kernel: 5, ..Default::default() };
/// let block = inception(192, widths, config, vb)?;
/// let x = Tensor::ones((2, 192, 4, 4), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 256, 4, 4]);
///
/// let total = summary(&block, &[1, 192, 4, 4])?.total;
/// let weights = 192 * (64 + 96 + 16 + 32) + 9 * 96 * 128 + 25 * 16 * 32;
/// assert_eq!(total.cost.parameters, weights + 2 * (64 + 96 + 128 + 16 + 32 + 32));
/// assert_eq!((total.cost.macs, total.depth), (16 * weights, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Inception {
    branch1: ConvNorm,
    branch2: [ConvNorm; 2],
    branch3: [ConvNorm; 2],
    pool: MaxPool2d,
    branch4: ConvNorm,
}

impl ModuleT for Inception {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let two =
            |[first, second]: &[ConvNorm; 2]| second.forward_t(&first.forward_t(x, train)?, train);
        let one = self.branch1.forward_t(x, train)?;
        let (three, five) = (two(&self.branch2)?, two(&self.branch3)?);
        let pooled = self.branch4.forward_t(&self.pool.forward(x)?, train)?;
        Ok(concat(&[&one, &three, &five, &pooled], 1)?)
    }
}

impl Counted for Inception {
    fn kind(&self) -> &'static str {
        "Inception"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let part = |part: &ConvNorm, name: &str, x: &Flow, counter: &mut Counter| {
            let [conv, bn] = ["conv", "bn"].map(|entry| format!("{name}.{entry}"));
            part.count_as([&conv, &bn], x, None, counter)
        };
        let one = part(&self.branch1, "branch1", x, counter)?;
        let three = part(&self.branch2[0], "branch2.0", x, counter)?;
        let three = part(&self.branch2[1], "branch2.1", &three, counter)?;
        let five = part(&self.branch3[0], "branch3.0", x, counter)?;
        let five = part(&self.branch3[1], "branch3.1", &five, counter)?;
        let pooled = counter.layer("branch4.0", &self.pool, x)?;
        let pooled = part(&self.branch4, "branch4.1", &pooled, counter)?;
        counter.concat(&[one, three, five, pooled])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Initializer, Parameters, stream};

    use super::*;
    use crate::meta;

    const WIDTHS: InceptionWidths =
        InceptionWidths { one: 1, three: [1, 1], five: [1, 1], pool: 1 };

    #[test]
    fn hand_numbers() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        for name in ["branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1"] {
            let size = match name {
                "branch2.1" => 3,
                "branch3.1" => 5,
                _ => 1,
            };
            // All weights are 1: sums of what the kernel sees.
            let vb = vb.pp(name).pp("conv");
            Initializer::Constant(1.0).parameter((1, 1, size, size), "weight", &vb)?;
            Initializer::Constant(0.0).parameter(1, "bias", &vb)?;
        }
        let config =
            InceptionConfig { five_kernel: 5, norm: NormConfig::None, ..Default::default() };
        let x = Tensor::new(&[[[[1.0, 2.0, 0.0, 8.0]]]], &Device::Cpu)?;
        let y = inception(1, WIDTHS, config, vb)?.forward_t(&x, true)?;
        assert_eq!(
            y.squeeze(0)?.squeeze(1)?.to_vec2::<f64>()?,
            [
                [1.0, 2.0, 0.0, 8.0],
                [3.0, 3.0, 10.0, 8.0],
                [3.0, 11.0, 11.0, 10.0],
                [2.0, 2.0, 8.0, 8.0]
            ]
        );
        Ok(())
    }

    #[test]
    fn even_kernels_and_widths_of_0_are_errors() {
        let error = |widths, config| {
            inception(4, widths, config, meta(DType::F32)).unwrap_err().to_string()
        };
        let plain = InceptionConfig::default();
        for five_kernel in [0, 4] {
            assert_eq!(
                error(WIDTHS, InceptionConfig { five_kernel, ..plain }),
                format!(
                    "inception: five_kernel should be odd, so that the branches keep the size of x, got {five_kernel}"
                )
            );
        }
        let none = "conv2d: out_channels should be at least 1, got 0";
        assert_eq!(error(InceptionWidths { pool: 0, ..WIDTHS }, plain), none);
        assert_eq!(error(InceptionWidths { three: [0, 1], ..WIDTHS }, plain), none);
    }
}
