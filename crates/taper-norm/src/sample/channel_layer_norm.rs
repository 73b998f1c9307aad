//! Layer normalization over the channels of each place.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Error, Result};
use taper_kernels::norm::{ChannelNorm, RowNorm};

use super::fused;
use super::terms::{Terms, centred, scaled};
use crate::affine::{affine, expect_affine};
use crate::arguments::{expect_channels, expect_eps};

const NAME: &str = "ChannelLayerNorm";
const FORWARD: &str = "ChannelLayerNorm::forward";

/// How [`channel_layer_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelLayerNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for ChannelLayerNormConfig {
    fn default() -> Self {
        Self { eps: 1e-6, affine: true, activation: Activation::Identity }
    }
}

/// A normalization over the channels of `vb`'s parameters `weight` and `bias`, if `config` has them; see [`ChannelLayerNorm`].
pub fn channel_layer_norm(
    num_channels: usize,
    config: ChannelLayerNormConfig,
    vb: VarBuilder,
) -> Result<ChannelLayerNorm> {
    let affine = affine(config.affine, num_channels, &vb)?;
    ChannelLayerNorm::new(num_channels, affine, config)
}

/// Layer normalization of images: at each place the channels are brought to mean 0 and variance 1, then each channel to a
/// learned scale and shift. It is [`LayerNorm`](crate::LayerNorm) over the channels without moving them to the end:
/// timm's `LayerNorm2d`, ConvNeXt's channels-first layer.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with an activation f, the identity by default, a residual r in `forward_residual`, 0 else, and the mean μ and the
/// biased variance σ² of x over the channels, for each sample and place.
///
/// # Shapes
/// x (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), r and y the same; γ (`weight`) and β (`bias`) (C).
///
/// # Parameters
/// - `num_channels`: C, at least 1.
///
/// Of [`ChannelLayerNormConfig`]:
/// - `eps`: 1e-6, as in timm and ConvNeXt; above 0.
/// - `affine`: true.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU it is one operation in each direction, with the residual and a rectifier in it, whose
/// result does not depend on the number of threads and which transposes nothing; a variance that overflows f32 is
/// taken in f64. Elsewhere candle's operations compute. f16 and bf16 are computed in f32; y has the dtype of x. The
/// gradient goes through mean and variance.
///
/// # Deviations
/// 1. From timm: any number of axes.
///
/// # Errors
/// [`channel_layer_norm`] and [`ChannelLayerNorm::new`] refuse 0 channels, an `eps` out of range and tensors that do not
/// fit. `forward` refuses an x that is not floating-point or has another number of axes or channels;
/// `forward_residual` also a residual of another shape or dtype than x.
///
/// # References
/// - Liu, Mao, Wu, Feichtenhofer, Darrell and Xie 2022, A ConvNet for the 2020s,
///   <https://arxiv.org/abs/2201.03545>.
/// - `timm.layers.LayerNorm2d`, <https://github.com/huggingface/pytorch-image-models>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Parameters, stream};
/// use taper_norm::{ChannelLayerNormConfig, channel_layer_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = channel_layer_norm(2, ChannelLayerNormConfig { eps: 1e-12, ..Default::default() }, vb)?;
///
/// // At the first place mean 3 and variance 4, at the second mean 4 and variance 9.
/// let x = Tensor::new(&[[[1.0, 7.0], [5.0, 1.0]]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, expected)| (y - expected).abs() < 1e-9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ChannelLayerNorm {
    num_channels: usize,
    affine: Option<(Tensor, Tensor)>,
    config: ChannelLayerNormConfig,
}

impl ChannelLayerNorm {
    /// A layer of this weight and bias, (C). They say whether there are any; `config` says the rest.
    pub fn new(
        num_channels: usize,
        affine: Option<(Tensor, Tensor)>,
        config: ChannelLayerNormConfig,
    ) -> Result<Self> {
        if num_channels == 0 {
            return Err(Error::argument(NAME, "num_channels", "at least 1", 0));
        }
        expect_eps(NAME, config.eps)?;
        expect_affine(NAME, &affine, num_channels)?;
        Ok(Self { num_channels, affine, config })
    }

    /// C.
    pub fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// γ, (C).
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// β, (C).
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// [`forward`](Module::forward) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, Some(residual))
    }

    fn normalize(&self, x: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD, x, self.num_channels)?;
        let terms = self.terms(x, residual);
        terms.check(FORWARD)?;
        terms.forward(
            self.config.activation,
            |terms, rectify| {
                let [samples, channels] = [0, 1].map(|axis| terms.x.dims()[axis]);
                let places = terms.x.dims()[2..].iter().product();
                let eps = self.config.eps;
                if places == 1 {
                    let sizes =
                        RowNorm { rows: samples, columns: channels, centred: true, rectify };
                    return Ok(fused::apply(sizes, terms, eps)?.0);
                }
                let sizes = ChannelNorm { samples, channels, places, rectify };
                Ok(fused::apply(sizes, terms, eps)?.0)
            },
            |terms| composed(terms, self.config.eps),
        )
    }

    fn terms<'a>(&'a self, x: &'a Tensor, residual: Option<&'a Tensor>) -> Terms<'a> {
        Terms { x, residual, weight: self.weight(), bias: self.bias() }
    }
}

impl Module for ChannelLayerNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, None)
    }
}

/// The twin of the fused operation in candle's operations.
fn composed(terms: Terms<'_>, eps: f64) -> candle_core::Result<Tensor> {
    let (x, channels) = (terms.x, terms.x.dims()[1]);
    let planes = x.reshape((x.dims()[0], channels, x.dims()[2..].iter().product::<usize>()))?;
    let rows = planes.transpose(1, 2)?.contiguous()?;
    let y = terms.affine(scaled(&centred(&rows)?, eps)?, &[1, 1, channels])?;
    y.transpose(1, 2)?.contiguous()?.reshape(x.shape())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // Mean 4 and variance 9, with ε a standard deviation of 5.
        let x = Tensor::new(&[[[1.0], [7.0]]], &Device::Cpu)?;
        let weight = Tensor::new(&[5.0, 10.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.5, 1.0], &Device::Cpu)?;
        let config = ChannelLayerNormConfig { eps: 16.0, ..Default::default() };
        let norm = ChannelLayerNorm::new(2, Some((weight, bias)), config)?;
        let y = norm.forward(&x)?;
        assert_close(&y, &Tensor::new(&[[[-2.5], [7.0]]], &Device::Cpu)?, 1e-15);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for shape in [vec![5, 6], vec![2, 6, 5], vec![3, 6, 8, 9]] {
                let mut variable = |shape: &[usize]| {
                    Var::from_tensor(&noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu)?)
                };
                let (x, residual, upstream) =
                    (variable(&shape)?, variable(&shape)?, variable(&shape)?);
                let (weight, bias) = (variable(&[6])?, variable(&[6])?);
                for case in 0..8 {
                    let [affine, add, relu] = [1, 2, 4].map(|bit| case & bit != 0);
                    let activation = if relu { Activation::Relu } else { Activation::Tanh };
                    let config = ChannelLayerNormConfig { activation, ..Default::default() };
                    let parameters = (weight.as_tensor().clone(), bias.as_tensor().clone());
                    let norm = ChannelLayerNorm::new(6, affine.then_some(parameters), config)?;
                    let run = |y: Tensor| -> Result<Vec<Tensor>> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let mut gradients = loss.backward()?;
                        let mut results = vec![y];
                        for variable in [&x, &residual, &weight, &bias] {
                            results.extend(gradients.remove(variable));
                        }
                        Ok(results)
                    };
                    let addend = add.then_some(residual.as_tensor());
                    let fused = run(norm.normalize(&x, addend)?)?;
                    let twin = norm.terms(&x, addend);
                    let twin = twin.composed(activation, |it| composed(it, 1e-6))?;
                    let twin = run(twin)?;
                    let results = 2 + 2 * usize::from(affine) + usize::from(add);
                    assert_eq!((fused.len(), twin.len()), (results, results));
                    for (fused, twin) in fused.iter().zip(twin) {
                        assert_close(fused, &twin, tolerance);
                    }
                }
            }
        }
        Ok(())
    }
}
