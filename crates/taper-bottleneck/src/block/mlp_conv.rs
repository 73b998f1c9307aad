//! Network in network's mlpconv.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Padding2d, Result};
use taper_norm::NormConfig;

use crate::{ConvNorm, ConvNormConfig, Counted, Counter, Flow, conv_norm};

/// How [`mlp_conv`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpConvConfig {
    /// How far the first convolution moves.
    pub stride: usize,
    /// The zeros around the image; `None` keeps its size at stride 1 where the kernel is odd.
    pub padding: Option<Padding2d>,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows each convolution.
    pub activation: Activation,
}

impl Default for MlpConvConfig {
    fn default() -> Self {
        Self { stride: 1, padding: None, norm: NormConfig::None, activation: Activation::Relu }
    }
}

/// An mlpconv of `vb`'s parameters `0`, `2` and `4`, or with a norm `0` and `1`, `3` and `4`, `6` and `7`; see [`MlpConv`].
pub fn mlp_conv(
    in_channels: usize,
    out_channels: [usize; 3],
    kernel_size: usize,
    config: MlpConvConfig,
    vb: VarBuilder,
) -> Result<MlpConv> {
    let MlpConvConfig { stride, padding, norm, activation } = config;
    // Entries of a sequence: convolution, norm if there is one, activation.
    let length = if matches!(norm, NormConfig::None) { 2 } else { 3 };
    let part = |inputs, outputs, kernel: usize, config, at: usize| {
        let at = at * length;
        conv_norm(inputs, outputs, kernel, config, vb.pp(at), vb.pp(at + 1))
    };
    let point = ConvNormConfig { norm, activation, ..Default::default() };
    let [first, second, third] = out_channels;
    let parts = [
        part(in_channels, first, kernel_size, ConvNormConfig { stride, padding, ..point }, 0)?,
        part(first, second, 1, point, 1)?,
        part(second, third, 1, point, 2)?,
    ];
    Ok(MlpConv { parts, length })
}

/// Network in network's mlpconv: a convolution whose filter is an MLP, which is a convolution and two 1x1 ones behind it.
///
/// # Equation
/// y = f(W₃ ⋆ f(W₂ ⋆ f(W₁ ⋆ x + b₁) + b₂) + b₃)
///
/// ```text
/// x ── k×k, c → o₁ ── f ── 1x1, o₁ → o₂ ── f ── 1x1, o₂ → o₃ ── f ── y
/// ```
///
/// with c = in_channels it has k² c·o₁ + o₁·o₂ + o₂·o₃ weights and o₁ + o₂ + o₃ biases (with a norm, its numbers instead), and
/// costs the weights times H′ · W′ MACs.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, o₃, H′, W′), H′ = ⌊(H + 2p − k) / stride⌋ + 1 and W′ likewise.
///
/// # Parameters
/// - `out_channels`: o₁, o₂ and o₃; at least 1 each.
/// - `kernel_size` k: of the first convolution; at least 1.
///
/// Of [`MlpConvConfig`]:
/// - `stride`: 1; at least 1.
/// - `padding` p: `None`, which is ⌊(k − 1) / 2⌋.
/// - `norm`: [`NormConfig::None`], the paper's; with another, each convolution has one behind it, before f.
/// - `activation` f: [`Activation::Relu`].
///
/// # Numerics
/// Those of its layers. On the CPU a convolution, its bias and its rectifier are one operation.
///
/// # Deviations
/// 1. The names are those of a `torch.nn.Sequential` of the same layers: neither torchvision nor timm has the block.
/// 2. Weights begin as N(0, 2 / fan_out), not as a single convolution does in PyTorch; the paper follows AlexNet's rule.
///
/// # Errors
/// [`mlp_conv`] refuses sizes of 0; `forward_t` an x of other channels, or one that with its padding is smaller than the kernel.
///
/// # References
/// - Lin, Chen and Yan 2014, Network in network, section 3.1, <https://arxiv.org/abs/1312.4400>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{MlpConvConfig, mlp_conv, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = mlp_conv(3, [24, 20, 12], 5, MlpConvConfig::default(), vb)?;
/// let x = Tensor::ones((2, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 12, 8, 8]);
///
/// let total = summary(&block, &[1, 3, 8, 8])?.total;
/// let weights = 25 * 3 * 24 + 24 * 20 + 20 * 12;
/// assert_eq!(total.cost.parameters, weights + 24 + 20 + 12);
/// assert_eq!(total.cost.macs, 64 * weights);
/// assert_eq!((total.depth, total.cost.nonlinearities), (3, 3));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MlpConv {
    parts: [ConvNorm; 3],
    /// Entries that a convolution has in the sequence of names.
    length: usize,
}

impl ModuleT for MlpConv {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.parts.iter().try_fold(x.clone(), |x, part| part.forward_t(&x, train))
    }
}

impl Counted for MlpConv {
    fn kind(&self) -> &'static str {
        "MlpConv"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.parts.iter().enumerate().try_fold(x.clone(), |x, (at, part)| {
            let [conv, norm] = [0, 1].map(|entry| (at * self.length + entry).to_string());
            part.count_as([&conv, &norm], &x, None, counter)
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::{Initializer, Parameters, stream};
    use taper_norm::BatchNormConfig;

    use super::*;
    use crate::meta;

    #[test]
    fn hand_numbers() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F64, &Device::Cpu);
        // The sum of three in a column, less 4; times 2, less 1; its negative, plus 5.
        for (name, size, weight, bias) in
            [("0", 3, 1.0, -4.0), ("2", 1, 2.0, -1.0), ("4", 1, -1.0, 5.0)]
        {
            let vb = vb.pp(name);
            Initializer::Constant(weight).parameter((1, 1, size, size), "weight", &vb)?;
            Initializer::Constant(bias).parameter(1, "bias", &vb)?;
        }
        let block = mlp_conv(1, [1; 3], 3, MlpConvConfig::default(), vb)?;
        let x = Tensor::new(&[[[[1.0], [2.0], [4.0], [0.0]]]], &Device::Cpu)?;
        let y = block.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
        // Sums 3, 7, 6, 4.
        assert_eq!(y, [5.0, 0.0, 2.0, 5.0]);
        Ok(())
    }

    #[test]
    fn names_are_those_of_a_sequence() -> Result<()> {
        for (norm, convolutions) in [
            (NormConfig::None, [0, 2, 4]),
            (NormConfig::Batch(BatchNormConfig::default()), [0, 3, 6]),
        ] {
            let parameters = Parameters::new(&stream(0, "init"));
            let vb = parameters.builder(DType::F32, &Device::Cpu);
            mlp_conv(2, [3; 3], 1, MlpConvConfig { norm, ..Default::default() }, vb)?;
            let trained = parameters.trainable();
            let kernels = trained.iter().filter(|(_, variable)| variable.rank() == 4);
            let names: Vec<_> = kernels.map(|(name, _)| name.clone()).collect();
            assert_eq!(names, convolutions.map(|at| format!("{at}.weight")));
        }
        Ok(())
    }

    #[test]
    fn sizes_of_0_are_errors() {
        let error = |outputs, kernel| {
            let config = MlpConvConfig::default();
            mlp_conv(2, outputs, kernel, config, meta(DType::F32)).unwrap_err().to_string()
        };
        assert_eq!(error([1, 0, 1], 1), "conv2d: out_channels should be at least 1, got 0");
        assert_eq!(
            error([1; 3], 0),
            "conv2d: kernel_size should be at least 1 in each direction, got 0 and 0"
        );
    }
}
