//! One factor for each channel of a residual branch.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Error, Initializer, Result, scale};

use crate::{Counted, Counter, Flow};

/// Which axis of x the channels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Axis 1, as of images.
    First,
    /// The last, as of points.
    Last,
}

/// A layer scale of `vb`'s parameter `gamma`, which begins as `init` everywhere; see [`LayerScale`].
pub fn layer_scale(
    num_channels: usize,
    init: f64,
    channels: Channels,
    vb: VarBuilder,
) -> Result<LayerScale> {
    let gamma = Initializer::Constant(init).parameter(num_channels, "gamma", &vb)?;
    LayerScale::new(gamma, channels)
}

/// One factor for each channel, at the end of a residual branch.
///
/// # Equation
/// y = γ ⊙ x, with one γ for each channel
///
/// ```text
///        ┌─────────────────────┐
///     x ─┴─ branch ── γ ⊙ ───── + ── y
/// ```
///
/// It has C parameters, and no MACs.
///
/// # Shapes
/// x (N, C, places...) with [`Channels::First`], (N, ..., C) with [`Channels::Last`]; y the same; γ (C).
///
/// # Parameters
/// - `init`: what γ begins as: 1e-6 in ConvNeXt, 1e-5 in deep transformers. A small one begins the block near its input.
/// - `channels`: which axis.
///
/// # Numerics
/// One product an element; the gradient of γ is a sum over all samples and places.
///
/// # Deviations
/// 1. timm has two layers, `LayerScale` and `LayerScale2d`; torchvision's ConvNeXt a parameter (C, 1, 1), which
///    [`LayerScale::new`] takes.
///
/// # Errors
/// [`LayerScale::new`] refuses a γ of another shape or without elements; `forward` an x of fewer than two axes or other channels.
///
/// # References
/// - Touvron, Cord, Sablayrolles, Synnaeve and Jégou 2021, Going deeper with image transformers, section 2,
///   <https://arxiv.org/abs/2103.17239>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_bottleneck::{Channels, LayerScale};
///
/// let gamma = Tensor::new(&[2.0, -1.0], &Device::Cpu)?;
/// let x = Tensor::new(&[[[1.0, 2.0], [3.0, 4.0]]], &Device::Cpu)?;
/// let first = LayerScale::new(gamma.clone(), Channels::First)?.forward(&x)?;
/// assert_eq!(first.to_vec3::<f64>()?, [[[2.0, 4.0], [-3.0, -4.0]]]);
/// let last = LayerScale::new(gamma, Channels::Last)?.forward(&x)?;
/// assert_eq!(last.to_vec3::<f64>()?, [[[2.0, -2.0], [6.0, -4.0]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LayerScale {
    gamma: Tensor,
    channels: Channels,
}

impl LayerScale {
    /// A layer of this γ, (C), or for images also (C, 1, 1).
    pub fn new(gamma: Tensor, channels: Channels) -> Result<Self> {
        let axes = if channels == Channels::First { 3 } else { 1 };
        let fits = match gamma.dims() {
            [first, others @ ..] => {
                *first > 0 && others.len() < axes && others.iter().all(|it| *it == 1)
            }
            [] => false,
        };
        if !fits {
            let expected = "(C), or (C, 1, 1) with `Channels::First`, C at least 1";
            let received = format!("{:?}", gamma.dims());
            return Err(Error::argument("LayerScale::new", "gamma", expected, received));
        }
        Ok(Self { gamma, channels })
    }

    /// γ, as it was given.
    pub fn gamma(&self) -> &Tensor {
        &self.gamma
    }

    fn check(&self, operation: &'static str, dims: &[usize]) -> Result<()> {
        let (axis, which) = match self.channels {
            Channels::First => (1, "axis 1"),
            Channels::Last => (dims.len().wrapping_sub(1), "the last axis"),
        };
        let channels = self.gamma.elem_count();
        if dims.len() < 2 || dims.get(axis) != Some(&channels) {
            let expected = format!("two axes or more, with {channels} channels in {which}");
            return Err(Error::argument(operation, "x", expected, format!("shape {dims:?}")));
        }
        Ok(())
    }
}

impl Module for LayerScale {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.check("LayerScale::forward", x.dims())?;
        match self.channels {
            Channels::First => Ok(scale(x, &self.gamma)?),
            // The channels of a factor are in axis 1: points come as samples, each of one place.
            Channels::Last => {
                let points = x.reshape(((), self.gamma.elem_count()))?;
                scale(&points, &self.gamma)?.reshape(x.shape())
            }
        }
    }
}

impl Counted for LayerScale {
    fn kind(&self) -> &'static str {
        "LayerScale"
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.check(self.kind(), x.dims())?;
        counter.parameter(&self.gamma);
        Ok(counter.scale(x, x))
    }
}
