//! The block of an MLP-Mixer.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Activation, Error, Initializer, Linear, LinearConfig, Result, add, linear};
use taper_norm::{LayerNorm, LayerNormConfig, layer_norm};

use crate::{Counted, Counter, Flow, Pointwise, PointwiseConfig, pointwise};

/// How [`mixer_block`] makes a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixerBlockConfig {
    /// The width of the MLP over the points; `None` is half the channels.
    pub tokens_dim: Option<usize>,
    /// The width of the MLP over the channels; `None` is four times the channels.
    pub channels_dim: Option<usize>,
    /// What follows the first layer of each.
    pub activation: Activation,
    /// What is added to the variance in the norms.
    pub eps: f64,
}

impl Default for MixerBlockConfig {
    fn default() -> Self {
        Self { tokens_dim: None, channels_dim: None, activation: Activation::Gelu, eps: 1e-6 }
    }
}

/// A block for `points` points of `channels` channels, of `vb`'s parameters `norm1`, `mlp_tokens`, `norm2` and
/// `mlp_channels`; see [`MixerBlock`].
pub fn mixer_block(
    points: usize,
    channels: usize,
    config: MixerBlockConfig,
    vb: VarBuilder,
) -> Result<MixerBlock> {
    let MixerBlockConfig { tokens_dim, channels_dim, activation, eps } = config;
    let (tokens_dim, channels_dim) =
        (tokens_dim.unwrap_or(channels / 2), channels_dim.unwrap_or(4 * channels));
    for (name, size) in [
        ("points", points),
        ("channels", channels),
        ("tokens_dim", tokens_dim),
        ("channels_dim", channels_dim),
    ] {
        if size == 0 {
            return Err(Error::argument("mixer_block", name, "at least 1", 0));
        }
    }
    let norm = LayerNormConfig { eps, ..Default::default() };
    let (weight_init, zero) =
        (Initializer::XavierUniform { gain: 1.0 }, Initializer::Constant(0.0));
    let mixing = |activation| PointwiseConfig {
        weight_init,
        bias_init: Some(zero),
        activation,
        ..Default::default()
    };
    let features = |activation| LinearConfig {
        weight_init,
        bias_init: Some(zero),
        activation,
        ..Default::default()
    };
    let (tokens, of_channels) = (vb.pp("mlp_tokens"), vb.pp("mlp_channels"));
    let none = Activation::Identity;
    Ok(MixerBlock {
        norm1: layer_norm(channels, norm, vb.pp("norm1"))?,
        tokens: [
            pointwise(points, tokens_dim, mixing(activation), tokens.pp("fc1"))?,
            pointwise(tokens_dim, points, mixing(none), tokens.pp("fc2"))?,
        ],
        norm2: layer_norm(channels, norm, vb.pp("norm2"))?,
        channels: [
            linear(channels, channels_dim, features(activation), of_channels.pp("fc1"))?,
            linear(channels_dim, channels, features(none), of_channels.pp("fc2"))?,
        ],
    })
}

/// The block of an MLP-Mixer: an MLP over the points of each channel, then one over the channels of each point.
///
/// # Equation
/// u = x + (W₂ f(W₁ norm₁(x)ᵀ))ᵀ, y = u + W₄ f(W₃ norm₂(u)), each layer with a bias
///
/// ```text
///        ┌────────────────────────────────────────┐       ┌─────────────────────────────────────────┐
///     x ─┴─ norm ── points: n → t ── f ── t → n ─── + ─ u ─┴─ norm ── channels: c → d ── f ── d → c ─ + ── y
/// ```
///
/// with n points, c channels, t = tokens_dim and d = channels_dim it has 2 n t + 2 c d weights, t + n + d + c biases
/// and 4 c numbers in the norms, and costs 2 n t c + 2 n c d MACs a sample. Both MLPs are 1x1 convolutions: the first one takes the
/// points as its channels, the second one the channels. A width below what it mixes makes a bottleneck of either.
///
/// # Shapes
/// x (batch, n, c) to y (batch, n, c).
///
/// # Parameters
/// Of [`MixerBlockConfig`]:
/// - `tokens_dim` t: `None`, which is c / 2; at least 1.
/// - `channels_dim` d: `None`, which is 4 c; at least 1.
/// - `activation` f: [`Activation::Gelu`].
/// - `eps`: 1e-6, of the norms.
///
/// Weights begin as Xavier's uniform distribution, biases as 0, as in timm.
///
/// # Numerics
/// The points are mixed by a [`Pointwise`] layer, without a transposed copy. Norms are those of [`LayerNorm`].
///
/// # Deviations
/// 1. From timm: no dropout and no drop path; the widths are numbers rather than ratios of c.
///
/// # Errors
/// [`mixer_block`] refuses sizes of 0; `forward` an x of another number of points or channels.
///
/// # References
/// - Tolstikhin et al. 2021, MLP-Mixer: an all-MLP architecture for vision, figure 1, <https://arxiv.org/abs/2105.01601>.
/// - `timm.models.mlp_mixer.MixerBlock`.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_bottleneck::{MixerBlockConfig, mixer_block, summary};
/// use taper_core::{Parameters, stream};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu);
/// let block = mixer_block(5, 8, MixerBlockConfig::default(), vb)?;
/// let x = Tensor::ones((2, 5, 8), DType::F32, &Device::Cpu)?;
/// assert_eq!(block.forward(&x)?.dims(), [2, 5, 8]);
/// let cost = summary(&block, &[1, 5, 8])?.total.cost;
/// let (n, c, t, d) = (5, 8, 4, 32);
/// assert_eq!(cost.parameters, 2 * n * t + 2 * c * d + t + n + d + c + 4 * c);
/// assert_eq!(cost.macs, 2 * n * t * c + 2 * n * c * d);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MixerBlock {
    norm1: LayerNorm,
    tokens: [Pointwise; 2],
    norm2: LayerNorm,
    channels: [Linear; 2],
}

impl Module for MixerBlock {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let [first, second] = &self.tokens;
        let mixed = second.forward(&first.forward(&self.norm1.forward(x)?)?)?;
        let x = add(&mixed, x, Activation::Identity)?;
        let [first, second] = &self.channels;
        let mixed = second.forward(&first.forward(&self.norm2.forward(&x)?)?)?;
        Ok(add(&mixed, &x, Activation::Identity)?)
    }
}

impl Counted for MixerBlock {
    fn kind(&self) -> &'static str {
        "MixerBlock"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        let [first, second] = &self.tokens;
        let y = counter.layer("norm1", &self.norm1, x)?;
        let y = counter.layer("mlp_tokens.fc1", first, &y)?;
        let y = counter.layer("mlp_tokens.fc2", second, &y)?;
        let x = counter.sum(&y, Some(x), Activation::Identity)?;
        let [first, second] = &self.channels;
        let y = counter.layer("norm2", &self.norm2, &x)?;
        let y = counter.layer("mlp_channels.fc1", first, &y)?;
        let y = counter.layer("mlp_channels.fc2", second, &y)?;
        counter.sum(&y, Some(&x), Activation::Identity)
    }
}
