//! MobileNetV2's inverted residual.

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Error, Result};
use taper_norm::{BatchNormConfig, NormConfig};

use crate::{ConvNorm, ConvNormConfig, Counted, Counter, Flow, conv_norm};

/// How [`inverted_residual`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InvertedResidualConfig {
    /// How far the depthwise convolution moves.
    pub stride: usize,
    /// How many times wider than the input the middle is.
    pub expansion: usize,
    /// What normalises.
    pub norm: NormConfig,
    /// What follows the convolutions but the last.
    pub activation: Activation,
    /// Whether the last norm begins as 0, and a block with a residual as the identity.
    pub zero_init_residual: bool,
}

impl Default for InvertedResidualConfig {
    fn default() -> Self {
        Self {
            stride: 1,
            expansion: 6,
            norm: NormConfig::Batch(BatchNormConfig::default()),
            activation: Activation::Relu6,
            zero_init_residual: false,
        }
    }
}

/// An inverted residual of `vb`'s parameters `conv.0.0` to `conv.3`, without the expansion `conv.0.0` to `conv.2`; see
/// [`InvertedResidual`].
pub fn inverted_residual(
    in_channels: usize,
    out_channels: usize,
    config: InvertedResidualConfig,
    vb: VarBuilder,
) -> Result<InvertedResidual> {
    let InvertedResidualConfig { stride, expansion, norm, activation, zero_init_residual } = config;
    let width = in_channels.checked_mul(expansion).filter(|_| expansion > 0).ok_or_else(|| {
        let expected = format!("at least 1, and in_channels ({in_channels}) times it a usize");
        Error::argument("inverted_residual", "expansion", expected, expansion)
    })?;
    let plain = ConvNormConfig { norm, activation, ..Default::default() };
    let depthwise = ConvNormConfig { stride, groups: width.max(1), ..plain };
    let linear =
        ConvNormConfig { activation: Activation::Identity, zero_init: zero_init_residual, ..plain };
    let vb = vb.pp("conv");
    // A convolution with its activation is a sequence within the sequence; the last one has none.
    let part = |inputs, kernel: usize, config, at: usize| {
        conv_norm(inputs, width, kernel, config, vb.pp(at).pp(0), vb.pp(at).pp(1))
    };
    let expand = if expansion > 1 { Some(part(in_channels, 1, plain, 0)?) } else { None };
    let at = usize::from(expand.is_some());
    Ok(InvertedResidual {
        expand,
        depthwise: part(width, 3, depthwise, at)?,
        project: conv_norm(width, out_channels, 1, linear, vb.pp(at + 1), vb.pp(at + 2))?,
        residual: stride == 1 && in_channels == out_channels,
    })
}

/// MobileNetV2's inverted residual: a depthwise convolution over many channels, between a 1x1 that makes them many and one that
/// makes them few again, and nothing is rectified where they are few.
///
/// # Equation
/// y = norm(W₃ ⋆ f(norm(W₂ ⋆ f(norm(W₁ ⋆ x))))), and x added to it where the shapes are the same:
///
/// ```text
///        ┌───────────────────────────────────────────────────────────────────────────────────┐
///     x ─┴─ 1x1, c → w ── norm, f ── depthwise 3x3, w ── norm, f ── 1x1, w → o ── norm ─ + ── y
/// ```
///
/// with c = in_channels, o = out_channels and w = expansion · c it has c·w + 9 w + w·o weights, 2 (2 w + o) numbers in the norms,
/// and costs the weights times H · W MACs at stride 1: H · W · w · (c + 9 + o). With an expansion of 1 the first convolution and
/// its norm are not there: 9 c + c·o weights and 2 (c + o) numbers.
///
/// # Shapes
/// x (N, in_channels, H, W) to y (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉).
///
/// # Parameters
/// Of [`InvertedResidualConfig`]:
/// - `stride`: 1; at least 1. With another one, or other channels, there is no residual.
/// - `expansion`: 6; at least 1.
/// - `norm`: [`NormConfig::Batch`] with its defaults, any other.
/// - `activation` f: [`Activation::Relu6`].
/// - `zero_init_residual`: false. With true, the last norm's weight begins as 0 (the last convolution, where the norm has none),
///   so that a block with a residual begins as y = x.
///
/// # Numerics
/// Those of its layers. On the CPU the last norm and the sum are one operation.
///
/// # Deviations
/// 1. From torchvision: any norm, activation and stride, where its block takes 1 and 2; a whole `expansion` rather than
///    an `expand_ratio` after which the width is rounded.
/// 2. From the paper: its figure 3 leaves out the norms, which its text has after every layer, as here.
/// 3. Convolutions begin as N(0, 2 / fan_out), as in torchvision's network, not as a single convolution does in
///    PyTorch.
///
/// # Errors
/// [`inverted_residual`] refuses sizes of 0; `forward_t` an x of other channels, and in training what the norm refuses.
///
/// # References
/// - Sandler, Howard, Zhu, Zhmoginov and Chen 2018, MobileNetV2: inverted residuals and linear bottlenecks, table 1,
///   <https://arxiv.org/abs/1801.04381>.
/// - `torchvision.models.mobilenetv2.InvertedResidual`,
///   <https://docs.pytorch.org/vision/stable/models/mobilenetv2.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_bottleneck::{InvertedResidualConfig, inverted_residual, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = inverted_residual(24, 24, InvertedResidualConfig::default(), vb)?;
/// let x = Tensor::ones((2, 24, 8, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward_t(&x, true)?.dims(), [2, 24, 8, 8]);
///
/// let total = summary(&block, &[1, 24, 8, 8])?.total;
/// let (c, w, o) = (24, 144, 24);
/// assert_eq!(total.cost.parameters, w * (c + 9 + o) + 2 * (2 * w + o));
/// assert_eq!(total.cost.macs, 64 * w * (c + 9 + o));
/// assert_eq!((total.depth, total.cost.nonlinearities), (3, 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct InvertedResidual {
    /// `None` where the expansion is 1.
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    residual: bool,
}

impl ModuleT for InvertedResidual {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let y = match &self.expand {
            Some(expand) => expand.forward_t(x, train)?,
            None => x.clone(),
        };
        let y = self.depthwise.forward_t(&y, train)?;
        match self.residual {
            true => self.project.forward_residual_t(&y, x, train),
            false => self.project.forward_t(&y, train),
        }
    }
}

impl Counted for InvertedResidual {
    fn kind(&self) -> &'static str {
        "InvertedResidual"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let residual = self.residual.then_some(x);
        match &self.expand {
            Some(expand) => {
                let y = expand.count_as(["conv.0.0", "conv.0.1"], x, None, counter)?;
                let y = self.depthwise.count_as(["conv.1.0", "conv.1.1"], &y, None, counter)?;
                self.project.count_as(["conv.2", "conv.3"], &y, residual, counter)
            }
            None => {
                let y = self.depthwise.count_as(["conv.0.0", "conv.0.1"], x, None, counter)?;
                self.project.count_as(["conv.1", "conv.2"], &y, residual, counter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{DType, Device};
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::meta;

    #[test]
    fn hand_numbers() -> Result<()> {
        // x and -x, of which the depthwise convolution takes the middle, and the first and twice the second.
        let middle = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0].repeat(2);
        let tensor = |values: Vec<f64>, inputs: usize, kernel: usize| {
            let outputs = values.len() / (inputs * kernel * kernel);
            Tensor::from_vec(values, (outputs, inputs, kernel, kernel), &Device::Cpu)
        };
        let zeros = |count| Tensor::zeros(count, DType::F64, &Device::Cpu);
        let entries = HashMap::from([
            ("conv.0.0.weight".to_owned(), tensor(vec![1.0, -1.0], 1, 1)?),
            ("conv.0.0.bias".to_owned(), zeros(2)?),
            ("conv.1.0.weight".to_owned(), tensor(middle, 1, 3)?),
            ("conv.1.0.bias".to_owned(), zeros(2)?),
            ("conv.2.weight".to_owned(), tensor(vec![1.0, 2.0], 2, 1)?),
            ("conv.2.bias".to_owned(), zeros(1)?),
        ]);
        let vb = VarBuilder::from_tensors(entries, DType::F64, &Device::Cpu);
        let config =
            InvertedResidualConfig { expansion: 2, norm: NormConfig::None, ..Default::default() };
        let block = inverted_residual(1, 1, config, vb)?;
        let x = Tensor::new(&[[[[2.0, -1.0, 8.0, -9.0]]]], &Device::Cpu)?;
        let y = block.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(y, [2.0 + 2.0, -1.0 + 2.0, 8.0 + 6.0, -9.0 + 12.0]);
        Ok(())
    }

    #[test]
    fn names_are_those_of_torchvision() -> Result<()> {
        let norm = ["bias", "num_batches_tracked", "running_mean", "running_var", "weight"];
        for (expansion, parts) in [
            (
                6,
                [("conv.0.0", "conv.0.1"), ("conv.1.0", "conv.1.1"), ("conv.2", "conv.3")]
                    .as_slice(),
            ),
            (1, &[("conv.0.0", "conv.0.1"), ("conv.1", "conv.2")]),
        ] {
            let parameters = Parameters::new(&stream(0, "init"));
            let config = InvertedResidualConfig { expansion, ..Default::default() };
            inverted_residual(4, 4, config, parameters.builder(DType::F32, &Device::Cpu))?;
            let names: Vec<_> = parameters.all().into_iter().map(|(name, _)| name).collect();
            let expected = parts.iter().flat_map(|(conv, bn)| {
                let weight = format!("{conv}.weight");
                std::iter::once(weight).chain(norm.iter().map(move |entry| format!("{bn}.{entry}")))
            });
            assert_eq!(names, expected.collect::<Vec<_>>());
        }
        Ok(())
    }

    #[test]
    fn begins_as_the_identity_where_it_is_asked_to() -> Result<()> {
        let parameters = Parameters::new(&stream(0, "init"));
        let config = InvertedResidualConfig { zero_init_residual: true, ..Default::default() };
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let block = inverted_residual(4, 4, config, vb)?;
        let x = stream(1, "x").normal(0.0, 1.0, (2, 4, 5, 5), DType::F32, &Device::Cpu)?;
        let y = block.forward_t(&x, true)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, x.flatten_all()?.to_vec1::<f32>()?);
        Ok(())
    }

    #[test]
    fn sizes_of_0_are_errors() {
        let error = |inputs, outputs, config| {
            inverted_residual(inputs, outputs, config, meta(DType::F32)).unwrap_err().to_string()
        };
        let plain = InvertedResidualConfig::default();
        assert_eq!(
            error(4, 4, InvertedResidualConfig { expansion: 0, ..plain }),
            "inverted_residual: expansion should be at least 1, and in_channels (4) times it a usize, got 0"
        );
        assert_eq!(
            error(4, 4, InvertedResidualConfig { stride: 0, ..plain }),
            "conv2d: stride should be at least 1 in each direction, got 0 and 0"
        );
        assert_eq!(error(0, 4, plain), "conv2d: in_channels should be at least 1, got 0");
        assert_eq!(error(4, 0, plain), "conv2d: out_channels should be at least 1, got 0");
    }
}
