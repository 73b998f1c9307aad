//! The way around a residual block.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, AvgPool2d, AvgPool2dConfig, Conv2dConfig, Result, concat};
use taper_norm::NormConfig;

use super::{HE, conv_norm_of};
use crate::{ConvNorm, ConvNormConfig, Counted, Counter, Flow, conv_norm};

/// What goes around a residual block whose input and output differ in shape. Where they do not, it is the input itself.
///
/// # Equation
/// ```text
/// Projection         x ── conv 1x1, stride s ── norm
/// PooledProjection   x ── average s×s ── conv 1x1 ── norm
/// Padded             x ── each s-th row and column ── and zeros as further channels
/// ```
///
/// A projection has in_channels · out_channels weights and the norm's 2 · out_channels. With stride 2 it leaves out three of four
/// places of x; the pooled one averages over them; the padded one has no parameters.
///
/// # Shapes
/// x (N, in_channels, H, W) to (N, out_channels, ⌈H / s⌉, ⌈W / s⌉).
///
/// # Parameters
/// A choice: [`Shortcut::Projection`] by default. In a file `projection`, `pooled_projection` or `padded`.
///
/// # Numerics
/// Those of its layers; the padded one is exact.
///
/// # Deviations
/// 1. The papers' options are A (padded), B (projection where shapes differ, as here) and C (projections everywhere); C is
///    not here.
/// 2. He et al. put the zeros of option A behind the channels of x, as here; some later code puts half of them before.
///
/// # Errors
/// Those of its layers, and fewer channels behind a padded shortcut than before it.
///
/// # References
/// - He, Zhang, Ren and Sun 2015, Deep residual learning, section 4.1, <https://arxiv.org/abs/1512.03385>.
/// - He, Zhang, Zhang, Zhang, Xie and Li 2018, Bag of tricks for image classification, figure 2 (ResNet-D),
///   <https://arxiv.org/abs/1812.01187>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::DType;
/// use taper_bottleneck::{BasicBlockConfig, Shortcut, basic_block, meta, summary};
///
/// let parameters = |shortcut| -> taper_core::Result<u64> {
///     let config = BasicBlockConfig { stride: 2, shortcut, ..Default::default() };
///     let block = basic_block(16, 32, config, meta(DType::F32))?;
///     Ok(summary(&block, &[1, 16, 8, 8])?.total.cost.parameters)
/// };
/// assert_eq!(parameters(Shortcut::Projection)? - parameters(Shortcut::Padded)?, 16 * 32 + 2 * 32);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shortcut {
    /// A 1x1 convolution with the block's stride, and a norm: option B.
    #[default]
    Projection,
    /// The average over each step, then a 1x1 convolution and a norm: ResNet-D.
    PooledProjection,
    /// Each step's first place, and zeros: option A.
    Padded,
}

/// A shortcut that is made.
#[derive(Debug, Clone)]
pub(super) enum Way {
    Identity,
    /// With the names of the pool, the convolution and its norm.
    Projection {
        pool: Option<AvgPool2d>,
        projection: Box<ConvNorm>,
        names: [&'static str; 3],
    },
    Padded {
        steps: AvgPool2d,
        channels: usize,
    },
}

impl Shortcut {
    /// The way around a block of these channels and stride, with the parameters of `vb`.
    pub(super) fn build(
        self,
        in_channels: usize,
        out_channels: usize,
        stride: usize,
        norm: NormConfig,
        vb: VarBuilder,
    ) -> Result<Way> {
        // The pool is entry 0 of its sequence, also where nothing is pooled.
        let names = match self {
            Self::PooledProjection => ["0", "1", "2"],
            Self::Projection | Self::Padded => ["", "0", "1"],
        };
        let project = |stride: usize| {
            let activation = Activation::Identity;
            let config = ConvNormConfig { stride, norm, activation, ..Default::default() };
            let [conv, norm] = [names[1], names[2]].map(|name| vb.pp(name));
            conv_norm(in_channels, out_channels, 1, config, conv, norm)
        };
        self.way([in_channels, out_channels], stride, names, project)
    }

    /// The same without a norm behind the projection, around a block that begins with one; `bias` is the convolution's.
    pub(super) fn build_bare(
        self,
        [in_channels, out_channels]: [usize; 2],
        stride: usize,
        bias: bool,
        vb: VarBuilder,
    ) -> Result<Way> {
        let names = ["pool", "conv", "norm"];
        let project = |stride: usize| {
            let config =
                Conv2dConfig { stride: stride.into(), bias, weight_init: HE, ..Default::default() };
            let channels = [in_channels, out_channels];
            let vbs = [names[1], names[2]].map(|name| vb.pp(name));
            conv_norm_of(channels, 1.into(), config, NormConfig::None, vbs)
        };
        self.way([in_channels, out_channels], stride, names, project)
    }

    /// `project` makes the projection of a stride.
    fn way(
        self,
        [in_channels, out_channels]: [usize; 2],
        stride: usize,
        names: [&'static str; 3],
        project: impl Fn(usize) -> Result<ConvNorm>,
    ) -> Result<Way> {
        if stride == 1 && in_channels == out_channels {
            return Ok(Way::Identity);
        }
        let steps = |kernel: usize| {
            let stride = Some(stride.into());
            let (ceil_mode, count_include_pad) = (true, false);
            let config =
                AvgPool2dConfig { stride, ceil_mode, count_include_pad, ..Default::default() };
            AvgPool2d::new(kernel, config)
        };
        Ok(match self {
            Self::Projection => {
                Way::Projection { pool: None, projection: Box::new(project(stride)?), names }
            }
            Self::PooledProjection => {
                let pool = if stride > 1 { Some(steps(stride)?) } else { None };
                Way::Projection { pool, projection: Box::new(project(1)?), names }
            }
            Self::Padded => {
                let Some(channels) = out_channels.checked_sub(in_channels) else {
                    let expected =
                        format!("at least in_channels ({in_channels}) with a padded shortcut");
                    return Err(taper_core::Error::argument(
                        "Shortcut",
                        "out_channels",
                        expected,
                        out_channels,
                    ));
                };
                Way::Padded { steps: steps(1)?, channels }
            }
        })
    }
}

impl ModuleT for Way {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Projection { pool: None, projection, .. } => projection.forward_t(x, train),
            Self::Projection { pool: Some(pool), projection, .. } => {
                projection.forward_t(&pool.forward(x)?, train)
            }
            Self::Padded { steps, channels } => {
                let y = steps.forward(x)?;
                if *channels == 0 {
                    return Ok(y);
                }
                let (n, _, height, width) = y.dims4()?;
                let zeros = Tensor::zeros((n, *channels, height, width), y.dtype(), y.device())?;
                Ok(concat(&[&y, &zeros], 1)?)
            }
        }
    }
}

impl Way {
    /// Around a pre-activation block: x itself, or what the projection makes of it activated.
    pub(super) fn around(
        &self,
        x: &Tensor,
        activated: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.forward_t(if matches!(self, Self::Identity) { x } else { activated }, train)
    }

    /// Counts that.
    pub(super) fn count_around(
        &self,
        x: &Flow,
        activated: &Flow,
        counter: &mut Counter,
    ) -> Result<Flow> {
        self.count(if matches!(self, Self::Identity) { x } else { activated }, counter)
    }

    /// Counts what is there under the name `downsample`.
    pub(super) fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Projection { pool, projection, names: [pool_name, conv, norm] } => {
                counter.group("downsample", "Shortcut", |counter| match pool {
                    None => projection.count_as([conv, norm], x, None, counter),
                    Some(pool) => {
                        let x = counter.layer(pool_name, pool, x)?;
                        projection.count_as([conv, norm], &x, None, counter)
                    }
                })
            }
            Self::Padded { steps, channels } => {
                counter.group("downsample", "Shortcut", |counter| {
                    let y = steps.count(x, counter)?;
                    if *channels == 0 {
                        return Ok(y);
                    }
                    let [n, _, height, width] = y.image("Shortcut")?;
                    let zeros = y.reshaped(&[n, *channels, height, width]);
                    counter.concat(&[y, zeros])
                })
            }
        }
    }
}
