//! Instance normalization for inputs of any number of axes.

use candle_core::{D, DType, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_core::{Activation, Error, Result, op};

use super::group_norm::{composed, sizes};
use super::terms::{Terms, centred};
use super::{fused, masked};
use crate::affine::{affine, expect_affine};
use crate::arguments::{expect_channels, expect_eps, expect_mask};
use crate::batch::{BatchNorm, BatchNormConfig, Momentum, RunningStatistics};

const NAME: &str = "InstanceNorm";
const FORWARD: &str = "InstanceNorm::forward_t";
const FORWARD_MASKED: &str = "InstanceNorm::forward_masked_t";

/// How [`instance_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstanceNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// How a batch moves the running statistics.
    pub momentum: Momentum,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// Whether running statistics are kept; without them samples normalise themselves in evaluation too.
    pub track_running_stats: bool,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for InstanceNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: Momentum::Exponential(0.1),
            affine: false,
            track_running_stats: false,
            activation: Activation::Identity,
        }
    }
}

/// An instance normalization of `vb`'s parameters `weight` and `bias` and its running statistics `running_mean`,
/// `running_var` and `num_batches_tracked`, as far as `config` has them; see [`InstanceNorm`].
pub fn instance_norm(
    num_features: usize,
    config: InstanceNormConfig,
    vb: VarBuilder,
) -> Result<InstanceNorm> {
    let affine = affine(config.affine, num_features, &vb)?;
    let running = match config.track_running_stats {
        true => Some(RunningStatistics::build(num_features, &vb)?),
        false => None,
    };
    InstanceNorm::new(num_features, affine, running, config)
}

/// Instance normalization: each channel of each sample is brought to mean 0 and variance 1 over its places, then, if
/// wanted, to a learned scale and shift.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with an activation f, the identity by default, a residual r in `forward_residual_t`, 0 else, and the mean μ and the
/// biased variance σ² of x over the places, for each sample and channel.
///
/// With running statistics s, training moves them by s ← (1 − m) s + m b, where b are the means over the samples of μ
/// and of the unbiased variance, and evaluation normalises by them.
///
/// # Shapes
/// x (N, C, L), (N, C, H, W) or (N, C, D, H, W), in evaluation by running statistics also (N, C); r and y the same;
/// γ (`weight`), β (`bias`), `running_mean` and `running_var` (C); a mask (N, L), (N, H, W) or (N, D, H, W).
///
/// # Parameters
/// - `num_features`: C, at least 1.
///
/// Of [`InstanceNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `momentum`: [`Momentum::Exponential`] of 0.1, from 0 to 1.
/// - `affine`: false.
/// - `track_running_stats`: false.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// As [`GroupNorm`](crate::GroupNorm) with a group for each channel, and in evaluation by running statistics as
/// [`BatchNorm`]. The running statistics are state: they have no gradient.
///
/// `forward_masked_t` is for padded inputs: statistics are over the places whose mask is not 0; at the others y is 0
/// and x has no gradient and may be NaN. Samples with fewer than two places left do not move running statistics.
///
/// # Deviations
/// 1. From PyTorch: one layer for all numbers of axes; training is said in the call; there is a mask.
/// 2. From PyTorch: `num_batches_tracked` counts the batches, and [`Momentum::Cumulative`] averages over them; there
///    it stays 0, and `momentum=None` stops the running statistics.
/// 3. From PyTorch: an x without samples has a y without samples.
///
/// # Errors
/// [`instance_norm`] and [`InstanceNorm::new`] refuse 0 features, an `eps` or `momentum` out of range, and tensors that
/// do not fit. `forward_t` refuses an x that is not floating-point, has another number of axes or channels, or
/// has one place a channel where it must be normalised by itself; `forward_residual_t` also a residual of
/// another shape or dtype than x, and `forward_masked_t` a mask that is not u8 or of another shape than the places of
/// x.
///
/// # References
/// - Ulyanov, Vedaldi and Lempitsky 2016, Instance normalization: the missing ingredient for fast stylization,
///   <https://arxiv.org/abs/1607.08022>.
/// - `torch.nn.InstanceNorm2d`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.InstanceNorm2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{InstanceNormConfig, instance_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = instance_norm(2, InstanceNormConfig { eps: 1e-12, ..Default::default() }, vb)?;
///
/// // Means 3 and 4, variances 4 and 9.
/// let x = Tensor::new(&[[[1.0, 5.0], [7.0, 1.0]]], &Device::Cpu)?;
/// let y = norm.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, expected)| (y - expected).abs() < 1e-9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct InstanceNorm {
    num_features: usize,
    affine: Option<(Tensor, Tensor)>,
    running: Option<Running>,
    config: InstanceNormConfig,
}

/// The running statistics, and the evaluation by them.
#[derive(Debug, Clone)]
struct Running {
    statistics: RunningStatistics,
    evaluation: BatchNorm,
}

impl InstanceNorm {
    /// A layer of these tensors: weight and bias (C), running statistics (C). They say what there is; `config` says the
    /// rest.
    pub fn new(
        num_features: usize,
        affine: Option<(Tensor, Tensor)>,
        running: Option<RunningStatistics>,
        config: InstanceNormConfig,
    ) -> Result<Self> {
        if num_features == 0 {
            return Err(Error::argument(NAME, "num_features", "at least 1", 0));
        }
        expect_eps(NAME, config.eps)?;
        config.momentum.check(NAME)?;
        expect_affine(NAME, &affine, num_features)?;
        let InstanceNormConfig { eps, momentum, activation, .. } = config;
        let running = match running {
            Some(statistics) => {
                statistics.check(NAME, num_features)?;
                let (affine, kept) = (affine.clone(), Some(statistics.clone()));
                let config = BatchNormConfig {
                    eps,
                    momentum,
                    affine: affine.is_some(),
                    track_running_stats: true,
                    activation,
                    ..Default::default()
                };
                let evaluation = BatchNorm::new(num_features, affine, kept, config)?;
                Some(Running { statistics, evaluation })
            }
            None => None,
        };
        Ok(Self { num_features, affine, running, config })
    }

    /// C.
    pub fn num_features(&self) -> usize {
        self.num_features
    }

    /// γ, (C).
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// β, (C).
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// What the layer remembers of its batches.
    pub fn running_statistics(&self) -> Option<&RunningStatistics> {
        self.running.as_ref().map(|running| &running.statistics)
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.normalize(x, Some(residual), train)
    }

    /// [`forward_t`](ModuleT::forward_t) of the places whose `mask` (N, places...), u8, is not 0; y is 0 at the others.
    /// A sample with no place left is 0 throughout.
    pub fn forward_masked_t(
        &self,
        x: &Tensor,
        mask: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD_MASKED, x, self.num_features)?;
        expect_mask(FORWARD_MASKED, mask, x)?;
        if let Some(running) = self.running.as_ref().filter(|_| !train) {
            let there = masked::there(x, mask)?;
            let y = running.evaluation.forward_t(&masked::keep(x, &there)?, false)?;
            return masked::keep(&y, &there);
        }
        let InstanceNormConfig { eps, activation, .. } = self.config;
        let terms = self.terms(x, None);
        let (y, found) = masked::forward(terms, mask, self.num_features, eps, activation)?;
        if train && self.running.is_some() {
            let shape = (x.dims()[0], self.num_features);
            let count = found.count.broadcast_as((shape.0, shape.1, 1))?;
            self.track(&Instances::new(&found.mean, &found.squares, &count)?)?;
        }
        Ok(y)
    }

    fn normalize(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD, x, self.num_features)?;
        let terms = self.terms(x, residual);
        terms.check(FORWARD)?;
        if let Some(Running { evaluation, .. }) = self.running.as_ref().filter(|_| !train) {
            return match residual {
                Some(residual) => evaluation.forward_residual_t(x, residual, false),
                None => evaluation.forward_t(x, false),
            };
        }
        if x.dims()[2..].iter().product::<usize>() < 2 {
            let expected = "of at least 2 places a channel to have a variance (a larger input, or `train` \
                            false with running statistics)";
            let received = format!("shape {:?}", x.dims());
            return Err(Error::argument(FORWARD, "x", expected, received).into());
        }
        terms.forward(
            self.config.activation,
            |terms, rectify| self.fused(terms, rectify, train),
            |terms| self.composed(terms, train),
        )
    }

    fn fused(&self, terms: Terms<'_>, rectify: bool, train: bool) -> candle_core::Result<Tensor> {
        let (sizes, eps) = (sizes(terms.x, self.num_features, rectify), self.config.eps);
        // With running statistics it counts as in evaluation, by these.
        let (y, found) = match self.running {
            Some(_) => fused::apply_as(sizes, terms, eps, 2)?,
            None => fused::apply(sizes, terms, eps)?,
        };
        if train && self.running.is_some() {
            let places = sizes.places as f64;
            let moments = op::by_dtype!(NAME, terms.x.dtype(), T => found.moments::<T>(eps))?;
            let of = |[mean, variance]: [f64; 2]| [mean, variance * places, places];
            self.track(&Instances(moments.into_iter().map(of).collect()))?;
        }
        Ok(y)
    }

    /// The twin of [`fused`](Self::fused) in candle's operations.
    fn composed(&self, terms: Terms<'_>, train: bool) -> candle_core::Result<Tensor> {
        let x = terms.x;
        if train && self.running.is_some() {
            let rows = x.detach().flatten_from(2)?;
            let mean = rows.mean_keepdim(D::Minus1)?;
            let squares = centred(&rows)?.sqr()?.sum_keepdim(D::Minus1)?;
            let count = (mean.zeros_like()? + rows.dims()[2] as f64)?;
            self.track(&Instances::new(&mean, &squares, &count)?)?;
        }
        composed(terms, self.num_features, self.config.eps)
    }

    fn terms<'a>(&'a self, x: &'a Tensor, residual: Option<&'a Tensor>) -> Terms<'a> {
        Terms { x, residual, weight: self.weight(), bias: self.bias() }
    }

    /// Moves the running statistics by the averages over the samples that have a variance; by none if there is none.
    fn track(&self, instances: &Instances) -> Result<()> {
        let Some(Running { statistics, .. }) = &self.running else {
            return Ok(());
        };
        let average = |of: fn(&[f64; 3]) -> f64| -> Option<Vec<f64>> {
            let channel = |channel: usize| {
                let samples = instances.0.iter().skip(channel).step_by(self.num_features);
                let values: Vec<f64> = samples.filter(|it| it[2] >= 2.0).map(of).collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
            };
            (0..self.num_features).map(channel).collect()
        };
        let mean = average(|[mean, ..]| *mean);
        let variance = average(|[_, squares, count]| squares / (count - 1.0));
        match (mean, variance) {
            (Some(mean), Some(variance)) => {
                statistics.track(self.config.momentum, &mean, &variance)
            }
            _ => Ok(()),
        }
    }
}

/// Mean, sum of squared distances from it, and number of values of each channel of each sample.
struct Instances(Vec<[f64; 3]>);

impl Instances {
    fn new(mean: &Tensor, squares: &Tensor, count: &Tensor) -> candle_core::Result<Self> {
        let numbers =
            |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
        let rest = numbers(squares)?.into_iter().zip(numbers(count)?);
        let all = numbers(mean)?.into_iter().zip(rest);
        Ok(Self(all.map(|(mean, (squares, count))| [mean, squares, count]).collect()))
    }
}

impl ModuleT for InstanceNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.normalize(x, None, train)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_core::testing::assert_close;
    use taper_core::{Parameters, stream};

    use super::*;

    fn tracking(features: usize, activation: Activation) -> Result<InstanceNorm> {
        let parameters = Parameters::new(&stream(0, "init"));
        let config = InstanceNormConfig {
            eps: 1e-14,
            affine: true,
            track_running_stats: true,
            activation,
            ..Default::default()
        };
        instance_norm(features, config, parameters.builder(DType::F64, &Device::Cpu))
    }

    fn state(norm: &InstanceNorm) -> Result<[Tensor; 2]> {
        let running = norm.running_statistics().expect("running statistics");
        Ok([running.mean.copy()?, running.variance.copy()?])
    }

    #[test]
    fn hand_numbers() -> Result<()> {
        // Means 3 and 5, biased variances 4 and 9, unbiased 8 and 18.
        let x = Tensor::new(&[[[1.0, 5.0]], [[2.0, 8.0]]], &Device::Cpu)?;
        let norm = tracking(1, Activation::Identity)?;
        let y = norm.forward_t(&x, true)?;
        assert_close(&y, &Tensor::new(&[[[-1.0, 1.0]], [[-1.0, 1.0]]], &Device::Cpu)?, 1e-12);
        let [mean, variance] = state(&norm)?;
        assert_close(&mean, &Tensor::new(&[0.4], &Device::Cpu)?, 1e-12);
        assert_close(&variance, &Tensor::new(&[0.9 + 1.3], &Device::Cpu)?, 1e-12);
        let y = norm.forward_t(&Tensor::new(&[[0.4 + 2.2f64.sqrt()]], &Device::Cpu)?, false)?;
        assert_close(&y, &Tensor::new(&[[1.0]], &Device::Cpu)?, 1e-12);
        Ok(())
    }

    #[test]
    fn hand_numbers_with_a_mask() -> Result<()> {
        let nan = f64::NAN;
        // The second sample has one place, the third none: only the first moves the running statistics.
        let x = Tensor::new(&[[[1.0, nan, 5.0]], [[7.0, nan, nan]], [[nan; 3]]], &Device::Cpu)?;
        let mask = Tensor::new(&[[1u8, 0, 1], [1, 0, 0], [0, 0, 0]], &Device::Cpu)?;
        let norm = tracking(1, Activation::Identity)?;
        let y = norm.forward_masked_t(&x, &mask, true)?;
        let expected = [[[-1.0, 0.0, 1.0]], [[0.0; 3]], [[0.0; 3]]];
        assert_close(&y, &Tensor::new(&expected, &Device::Cpu)?, 1e-12);
        let [mean, variance] = state(&norm)?;
        assert_close(&mean, &Tensor::new(&[0.3], &Device::Cpu)?, 1e-12);
        assert_close(&variance, &Tensor::new(&[0.9 + 0.8], &Device::Cpu)?, 1e-12);
        let y = norm.forward_masked_t(&x, &mask, false)?;
        let by = |x: f64| (x - 0.3) / 1.7f64.sqrt();
        let expected = [[[by(1.0), 0.0, by(5.0)]], [[by(7.0), 0.0, 0.0]], [[0.0; 3]]];
        assert_close(&y, &Tensor::new(&expected, &Device::Cpu)?, 1e-12);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let normal = |name| stream(3, name).normal(1.0, 2.0, (4, 3, 5), DType::F64, &Device::Cpu);
        let (x, residual) = (Var::from_tensor(&normal("x")?)?, normal("r")?);
        for activation in [Activation::Relu, Activation::Tanh] {
            let run = |composed: bool| -> Result<Vec<Tensor>> {
                let norm = tracking(3, activation)?;
                let twin = norm.terms(&x, Some(&residual));
                let y = match composed {
                    true => twin.composed(activation, |terms| norm.composed(terms, true))?,
                    false => norm.forward_residual_t(&x, &residual, true)?,
                };
                let mut gradients = (&y * normal("upstream")?)?.sum_all()?.backward()?;
                let gradient = gradients.remove(&x).expect("a gradient");
                let [mean, variance] = state(&norm)?;
                Ok(vec![y, gradient, mean, variance])
            };
            for (fused, composed) in run(false)?.iter().zip(run(true)?) {
                assert_close(fused, &composed, 1e-11);
            }
        }
        Ok(())
    }
}
