//! Batch normalization for inputs of any number of axes.

mod config;
mod masked;

use candle_core::Tensor;
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Error, Result};

use super::normalize::{Batch, Moments, Normalize, WHOLE, expect_variance};
use super::precise_statistics::Recorder;
use super::{Momentum, RunningStatistics, Variance};
use crate::affine::{affine, expect_affine};
use crate::arguments::{expect_channels, expect_like_x};

pub use config::{BatchNormConfig, OneValue};

/// A batch normalization layer of `vb`'s parameters `weight` and `bias` and its running statistics
/// `running_mean`, `running_var` and `num_batches_tracked`, as far as `config` has them; see [`BatchNorm`].
pub fn batch_norm(
    num_features: usize,
    config: BatchNormConfig,
    vb: VarBuilder,
) -> Result<BatchNorm> {
    let affine = affine(config.affine, num_features, &vb)?;
    let running = match config.track_running_stats {
        true => Some(RunningStatistics::build(num_features, &vb)?),
        false => None,
    };
    BatchNorm::new(num_features, affine, running, config)
}

/// Batch normalization: each channel is brought to mean 0 and variance 1 over the batch and all places,
/// then to a learned mean and spread.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with an activation f, the identity by default, and with a residual r in `forward_residual_t`, 0 else.
///
/// In training μ and σ² are the mean and variance of the batch, and the running statistics s move by
/// s ← (1 − m) s + m b with the batch's b. In evaluation μ and σ² are the running statistics.
///
/// # Shapes
/// x (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), r and y the same; γ (`weight`), β (`bias`), μ
/// (`running_mean`) and σ² (`running_var`, in the square of x's unit) (C).
///
/// # Parameters
/// Of [`BatchNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `momentum`: [`Momentum::Exponential`] of 0.1, from 0 to 1; Keras's is [`Momentum::Decay`] of 0.99.
/// - `affine`: true.
/// - `track_running_stats`: true.
/// - `batch_variance`: [`Variance::Biased`].
/// - `running_variance`: [`Variance::Unbiased`].
/// - `one_value`: [`OneValue::Error`].
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU training and evaluation are one operation each, with the residual and a rectifier
/// in it, whose result does not depend on the number of threads: sums in f32 over runs of some thousand values,
/// in f64 over runs; a variance that overflows f32 is taken in f64. Elsewhere candle's operations compute. f16
/// and bf16 are computed in f32; y has the dtype of x. In f32 the gradient of x lacks the part that goes through
/// the variance where the standard deviation is above 1e18.
/// The gradient goes through mean and variance; that of a bias before this layer is 0.
///
/// # Deviations
/// 1. From the paper: evaluation uses moving averages, as all libraries do, not statistics of the whole
///    training set computed afterwards.
/// 2. From the paper: σ² of the batch is biased, its running average unbiased, as in PyTorch.
/// 3. From PyTorch: one layer for all numbers of axes; training is said in the call.
/// 4. Beyond PyTorch: [`OneValue::Running`] trains on a batch of one value a channel; and
///    [`forward_masked_t`](BatchNorm::forward_masked_t) leaves padding out of the statistics, where Keras's mask
///    still normalises it.
///
/// # Errors
/// [`batch_norm`] and [`BatchNorm::new`] refuse 0 features, an `eps` or `momentum` out of range,
/// [`OneValue::Running`] without running statistics, and tensors that do not fit. `forward_t` refuses an x
/// that is not floating-point, has another number of axes or channels, and a batch of one value a channel where
/// it must be normalised by itself; `forward_residual_t` also a residual of another shape or dtype than x.
///
/// # References
/// - Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal
///   covariate shift, <https://arxiv.org/abs/1502.03167>.
/// - `torch.nn.BatchNorm2d`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{BatchNormConfig, batch_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = batch_norm(1, BatchNormConfig { eps: 1e-12, ..Default::default() }, vb)?;
///
/// // Mean 3, variance 4, unbiased 8.
/// let x = Tensor::new(&[[1.0], [5.0]], &Device::Cpu)?;
/// let y = norm.forward_t(&x, true)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!((y[0] + 1.0).abs() < 1e-9 && (y[1] - 1.0).abs() < 1e-9);
///
/// let running = norm.running_statistics().expect("kept by default");
/// assert!((running.mean.to_vec1::<f64>()?[0] - 0.3).abs() < 1e-12);
/// assert!((running.variance.to_vec1::<f64>()?[0] - (0.9 + 0.8)).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BatchNorm {
    num_features: usize,
    affine: Option<(Tensor, Tensor)>,
    running: Option<RunningStatistics>,
    config: BatchNormConfig,
    recorder: Recorder,
}

impl BatchNorm {
    /// A layer of these tensors: weight and bias (C), running statistics (C), each there if `config` says so.
    pub fn new(
        num_features: usize,
        affine: Option<(Tensor, Tensor)>,
        running: Option<RunningStatistics>,
        config: BatchNormConfig,
    ) -> Result<Self> {
        if num_features == 0 {
            return Err(invalid("num_features", "at least 1", 0));
        }
        config.check()?;
        check_present("affine", config.affine, affine.is_some())?;
        check_present("running", config.track_running_stats, running.is_some())?;
        expect_affine(NAME, &affine, num_features)?;
        if let Some(running) = &running {
            running.check(NAME, num_features)?;
        }
        Ok(Self { num_features, affine, running, config, recorder: Recorder::default() })
    }

    /// How the layer was made.
    pub fn config(&self) -> BatchNormConfig {
        self.config
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
        self.running.as_ref()
    }

    /// [`forward_t`](ModuleT::forward_t) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        self.forward(FORWARD, x, Some(residual), WHOLE, train)
    }

    /// In training, and where there are no running statistics, each `part` samples normalise themselves.
    pub(super) fn forward(
        &self,
        operation: &'static str,
        x: &Tensor,
        residual: Option<&Tensor>,
        part: usize,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        expect_channels(operation, x, self.num_features)?;
        if let Some(residual) = residual {
            expect_like_x(operation, "residual", residual, x)?;
        }
        let given = self.given(x, train);
        if given.is_none() {
            expect_variance(operation, x, part, part == WHOLE)?;
        }
        let BatchNormConfig { activation, eps, .. } = self.config;
        let call = Normalize::new(x, residual, self.affine.as_ref(), activation, eps)?;
        self.run(&call, given, part, train)
    }

    fn run(
        &self,
        call: &Normalize,
        given: Option<&RunningStatistics>,
        part: usize,
        train: bool,
    ) -> candle_core::Result<Tensor> {
        if let Some(given) = given {
            return call.by_given(&given.mean, &given.variance);
        }
        let variance = self.config.batch_variance;
        let (y, moments) = call.by_batch(&Batch { variance, part, correction: None })?;
        if train {
            self.track(moments)?;
        }
        Ok(y)
    }

    /// The statistics that normalise x, none where it does so itself.
    fn given(&self, x: &Tensor, train: bool) -> Option<&RunningStatistics> {
        let alone = x.elem_count() == self.num_features;
        let alone = alone && self.config.one_value == OneValue::Running;
        self.running.as_ref().filter(|_| !train || alone)
    }

    /// The layer without its activation, and that one.
    pub(super) fn split_activation(mut self) -> (Self, Activation) {
        let activation = std::mem::replace(&mut self.config.activation, Activation::Identity);
        (self, activation)
    }

    /// Where batches are recorded while that is wanted.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Moves the running statistics by those of batches, in order.
    fn track(&self, batches: Vec<Moments>) -> Result<()> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let Some(batches) = self.recorder.take(batches) else {
            return Ok(());
        };
        let BatchNormConfig { momentum, running_variance, .. } = self.config;
        for batch in batches {
            running.track(momentum, &batch.mean, &batch.variance(running_variance))?;
        }
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        self.forward(FORWARD, x, None, WHOLE, train)
    }
}

const NAME: &str = "BatchNorm";
const FORWARD: &str = "BatchNorm::forward_t";

fn check_present(argument: &str, expected: bool, received: bool) -> Result<()> {
    let name = |there: bool| if there { "given" } else { "none" };
    if expected == received {
        return Ok(());
    }
    Err(invalid(argument, &format!("{}, as the config says", name(expected)), name(received)))
}

fn invalid(argument: &str, expected: &str, received: impl std::fmt::Display) -> Error {
    Error::argument(NAME, argument, expected, received)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Shape, Var};
    use taper_core::testing::assert_close;
    use taper_core::{Parameters, stream};

    use super::*;

    fn layer(config: BatchNormConfig) -> Result<BatchNorm> {
        let parameters = Parameters::new(&stream(0, "init"));
        batch_norm(2, config, parameters.builder(DType::F64, &Device::Cpu))
    }

    fn assert_near(actual: &Tensor, expected: &[f64]) {
        let expected = Tensor::new(expected, actual.device()).unwrap();
        assert_close(actual, &expected, 1e-12);
    }

    /// Channels 1, 5 and 2, 8: means 3 and 5, biased variances 4 and 9, unbiased 8 and 18.
    fn x() -> Result<Tensor> {
        Ok(Tensor::new(&[[1.0, 2.0], [5.0, 8.0]], &Device::Cpu)?)
    }

    #[test]
    fn hand_numbers_of_training_and_evaluation() -> Result<()> {
        let eps = 1e-14;
        let norm = layer(BatchNormConfig { eps, ..Default::default() })?;
        let y = norm.forward_t(&x()?, true)?;
        assert_near(&y.flatten_all()?, &[-1.0, -1.0, 1.0, 1.0]);
        let running = norm.running_statistics().expect("running statistics");
        assert_near(&running.mean, &[0.3, 0.5]);
        assert_near(&running.variance, &[0.9 + 0.8, 0.9 + 1.8]);
        assert_eq!(running.num_batches_tracked.to_scalar::<i64>()?, 1);
        let y = norm.forward_t(&x()?, false)?;
        assert_near(&y.get(1)?, &[4.7 / 1.7f64.sqrt(), 7.5 / 2.7f64.sqrt()]);
        Ok(())
    }

    #[test]
    fn hand_numbers_of_the_other_conventions() -> Result<()> {
        let norm = layer(BatchNormConfig {
            eps: 1e-14,
            momentum: Momentum::Cumulative,
            batch_variance: Variance::Unbiased,
            running_variance: Variance::Biased,
            ..Default::default()
        })?;
        let y = norm.forward_t(&x()?, true)?;
        let by = 0.5f64.sqrt();
        assert_near(&y.flatten_all()?, &[-by, -by, by, by]);
        norm.forward_t(&(x()? * 3.0)?, true)?;
        let running = norm.running_statistics().expect("running statistics");
        // The averages of the batches' 3 and 9, 5 and 15; 4 and 36, 9 and 81.
        assert_near(&running.mean, &[6.0, 10.0]);
        assert_near(&running.variance, &[20.0, 45.0]);
        Ok(())
    }

    /// y, the running statistics after it, and the gradients of x, the residual, weight and bias, by the fused
    /// operation and by its twin.
    fn both(
        config: BatchNormConfig,
        [x, residual, weight, bias, upstream]: [&Tensor; 5],
        add: bool,
        train: bool,
    ) -> Result<[Vec<Tensor>; 2]> {
        let run = |composed: bool| -> Result<Vec<Tensor>> {
            let [x, residual, weight, bias] =
                [x, residual, weight, bias].map(|tensor| Var::from_tensor(tensor).unwrap());
            let affine = (weight.as_tensor().clone(), bias.as_tensor().clone());
            let statistics = |value: f64| {
                let zeros = Tensor::zeros(weight.dims(), x.dtype(), x.device())?;
                Var::from_tensor(&(zeros + value)?)
            };
            let running = RunningStatistics {
                mean: statistics(0.5)?,
                variance: statistics(2.0)?,
                num_batches_tracked: Var::new(0i64, x.device())?,
            };
            let affine = config.affine.then_some(affine);
            let norm = BatchNorm::new(weight.elem_count(), affine, Some(running.clone()), config)?;
            let addend = add.then_some(residual.as_tensor());
            let call =
                Normalize::new(&x, addend, norm.affine.as_ref(), config.activation, config.eps)?;
            let call = if composed { call.composed() } else { call };
            let y = norm.run(&call, norm.given(&x, train), WHOLE, train)?;
            let mut gradients = (&y * upstream)?.sum_all()?.backward()?;
            let mut results = vec![y];
            for running in [&running.mean, &running.variance] {
                results.push(running.as_tensor().copy()?);
            }
            for variable in [&x, &residual, &weight, &bias] {
                results.extend(gradients.remove(variable));
            }
            Ok(results)
        };
        Ok([run(false)?, run(true)?])
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for shape in [vec![6, 3], vec![4, 3, 5], vec![2, 3, 4, 5], vec![1, 3, 2, 2, 2]] {
                let mut normal = |shape| noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu);
                let [x, residual, upstream] =
                    [(); 3].map(|()| normal(Shape::from(shape.clone())).unwrap());
                let (weight, bias) = (normal(Shape::from(3))?, normal(Shape::from(3))?);
                let tensors = [&x, &residual, &weight, &bias, &upstream];
                for case in 0..16 {
                    let [train, affine, add, relu] = [1, 2, 4, 8].map(|bit| case & bit != 0);
                    let activation = if relu { Activation::Relu } else { Activation::Tanh };
                    let config = BatchNormConfig { affine, activation, ..Default::default() };
                    let [fused, composed] = both(config, tensors, add, train)?;
                    let results = 4 + usize::from(add) + 2 * usize::from(affine);
                    assert_eq!((fused.len(), composed.len()), (results, results));
                    for (fused, composed) in fused.iter().zip(composed) {
                        assert_close(fused, &composed, tolerance);
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn both_keep_the_variance_of_a_far_mean() -> Result<()> {
        // Mean 1e4 and standard deviation near 1e-2, as f32 holds it.
        let x = stream(5, "test").normal(1e4, 1e-2, (256, 4), DType::F32, &Device::Cpu)?;
        let wide = x.to_dtype(DType::F64)?;
        let mean = wide.mean_keepdim(0)?;
        let squares = wide.broadcast_sub(&mean)?.sqr()?.sum(0)?;
        let (zeros, ones) = (x.get(0)?.zeros_like()?, x.get(0)?.ones_like()?);
        let config = BatchNormConfig {
            eps: 1e-12,
            momentum: Momentum::Exponential(1.0),
            running_variance: Variance::Biased,
            ..Default::default()
        };
        for results in both(config, [&x, &x, &ones, &zeros, &x], false, true)? {
            let [y, running_mean, variance] =
                [0, 1, 2].map(|at| results[at].to_dtype(DType::F64).unwrap());
            assert_close(&variance, &(&squares / 256.0)?, 1e-5);
            assert_close(&running_mean, &mean.squeeze(0)?, 1e-7);
            let spread = y.sqr()?.mean(0)?;
            assert_close(&spread, &spread.ones_like()?, 1e-5);
        }
        Ok(())
    }
}
