//! The way around a residual block.

use candle_core::{Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, AvgPool2d, AvgPool2dConfig, Result, concat};
use taper_norm::NormConfig;

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
    Projection { pool: Option<AvgPool2d>, projection: ConvNorm },
    Padded { steps: AvgPool2d, channels: usize },
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
        if stride == 1 && in_channels == out_channels {
            return Ok(Way::Identity);
        }
        let config =
            ConvNormConfig { norm, activation: Activation::Identity, ..Default::default() };
        let steps = |kernel: usize| {
            let stride = Some(stride.into());
            let (ceil_mode, count_include_pad) = (true, false);
            let config =
                AvgPool2dConfig { stride, ceil_mode, count_include_pad, ..Default::default() };
            AvgPool2d::new(kernel, config)
        };
        Ok(match self {
            Self::Projection => {
                let config = ConvNormConfig { stride, ..config };
                let projection =
                    conv_norm(in_channels, out_channels, 1, config, vb.pp(0), vb.pp(1))?;
                Way::Projection { pool: None, projection }
            }
            Self::PooledProjection => {
                // The pool is entry 0 of the sequence, also where nothing is pooled.
                let pool = if stride > 1 { Some(steps(stride)?) } else { None };
                let projection =
                    conv_norm(in_channels, out_channels, 1, config, vb.pp(1), vb.pp(2))?;
                Way::Projection { pool, projection }
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
            Self::Projection { pool: None, projection } => projection.forward_t(x, train),
            Self::Projection { pool: Some(pool), projection } => {
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
    /// Counts what is there under the name `downsample`.
    pub(super) fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Projection { pool, projection } => {
                counter.group("downsample", "Shortcut", |counter| match pool {
                    None => projection.count_as(["0", "1"], x, None, counter),
                    Some(pool) => {
                        let x = counter.layer("0", pool, x)?;
                        projection.count_as(["1", "2"], &x, None, counter)
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
