//! Batch normalization for inputs of any number of axes.

mod fused;
mod kernel;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Init, ModuleT, VarBuilder};
use taper_core::{Error, Result};

use fused::fused;

/// How [`batch_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// How a batch moves the running statistics.
    pub momentum: Momentum,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// Whether running statistics are kept; without them batches normalise themselves in evaluation too.
    pub track_running_stats: bool,
    /// The variance that normalises in training.
    pub batch_variance: Variance,
    /// The variance that the running statistics take up.
    pub running_variance: Variance,
}

impl Default for BatchNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            momentum: Momentum::Exponential(0.1),
            affine: true,
            track_running_stats: true,
            batch_variance: Variance::Biased,
            running_variance: Variance::Unbiased,
        }
    }
}

/// How a batch moves the running statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Momentum {
    /// By this part of the way, from 0 to 1: PyTorch's convention, 1 minus that of Keras and the paper's
    /// moving average.
    Exponential(f64),
    /// To the plain average over all batches so far: PyTorch's `momentum=None`.
    Cumulative,
}

/// What the sum of the squared distances from the mean is divided by, for n values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variance {
    /// n.
    Biased,
    /// n − 1.
    Unbiased,
}

impl Variance {
    fn divisor(self, count: usize) -> f64 {
        match self {
            Self::Biased => count as f64,
            Self::Unbiased => (count - 1) as f64,
        }
    }
}

/// What a [`BatchNorm`] remembers of its batches.
#[derive(Debug, Clone)]
pub struct RunningStatistics {
    /// (C).
    pub mean: Var,
    /// (C).
    pub variance: Var,
    /// How many batches there were, (), i64.
    pub num_batches_tracked: Var,
}

/// A batch normalization layer of `vb`'s parameters `weight` and `bias` and its running statistics
/// `running_mean`, `running_var` and `num_batches_tracked`, as far as `config` has them; see [`BatchNorm`].
pub fn batch_norm(
    num_features: usize,
    config: BatchNormConfig,
    vb: VarBuilder,
) -> Result<BatchNorm> {
    let get = |name, value| vb.get_with_hints(num_features, name, Init::Const(value));
    let affine = if config.affine { Some((get("weight", 1.0)?, get("bias", 0.0)?)) } else { None };
    let running = if config.track_running_stats {
        let none = Init::Const(0.0);
        let batches = vb.get_with_hints_dtype((), "num_batches_tracked", none, DType::I64)?;
        // A variable of the builder is taken as it is: what saves the model saves it too.
        Some(RunningStatistics {
            mean: Var::from_tensor(&get("running_mean", 0.0)?)?,
            variance: Var::from_tensor(&get("running_var", 1.0)?)?,
            num_batches_tracked: Var::from_tensor(&batches)?,
        })
    } else {
        None
    };
    BatchNorm::new(num_features, affine, running, config)
}

/// Batch normalization: each channel is brought to mean 0 and variance 1 over the batch and all places,
/// then to a learned mean and spread.
///
/// # Equation
/// y = γ (x − μ) / √(σ² + ε) + β
///
/// In training μ and σ² are the mean and variance of the batch, and the running statistics r move by
/// r ← (1 − m) r + m s with the batch's s. In evaluation μ and σ² are the running statistics.
///
/// # Shapes
/// x (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), y the same; γ (`weight`), β (`bias`), μ
/// (`running_mean`) and σ² (`running_var`, in the square of x's unit) (C).
///
/// # Parameters
/// Of [`BatchNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `momentum`: [`Momentum::Exponential`] of 0.1, from 0 to 1.
/// - `affine`: true.
/// - `track_running_stats`: true.
/// - `batch_variance`: [`Variance::Biased`].
/// - `running_variance`: [`Variance::Unbiased`].
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU training is one fused operation, which computes in f64; elsewhere, and in
/// evaluation, candle's operations compute in x's dtype, f16 and bf16 in f32. y has the dtype of x.
/// The gradient goes through mean and variance; that of a bias before this layer is 0.
///
/// # Deviations
/// 1. From the paper: evaluation uses moving averages, as all libraries do, not statistics of the whole
///    training set computed afterwards.
/// 2. From the paper: σ² of the batch is biased, its running average unbiased, as in PyTorch.
/// 3. From PyTorch: one layer for all numbers of axes; training is said in the call.
///
/// # Errors
/// [`batch_norm`] and [`BatchNorm::new`] refuse 0 features, an `eps` or `momentum` out of range, and
/// tensors that do not fit. `forward_t` refuses an x that is not floating-point, has another number of
/// axes or channels, and a batch of one value a channel where it must be normalised by itself.
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
}

impl BatchNorm {
    /// A layer of these tensors: weight and bias (C), running statistics (C), each there if `config` says so.
    pub fn new(
        num_features: usize,
        affine: Option<(Tensor, Tensor)>,
        running: Option<RunningStatistics>,
        config: BatchNormConfig,
    ) -> Result<Self> {
        check_config(num_features, &config)?;
        check_present("affine", config.affine, affine.is_some())?;
        check_present("running", config.track_running_stats, running.is_some())?;
        if let Some((weight, bias)) = &affine {
            check_tensor("weight", weight, num_features)?;
            check_tensor("bias", bias, num_features)?;
        }
        if let Some(running) = &running {
            check_tensor("running.mean", &running.mean, num_features)?;
            check_tensor("running.variance", &running.variance, num_features)?;
            let batches = &running.num_batches_tracked;
            if batches.rank() != 0 || batches.dtype() != DType::I64 {
                let received = format!("{:?} of shape {:?}", batches.dtype(), batches.dims());
                let expected = "I64 of shape []";
                return Err(invalid("running.num_batches_tracked", expected, received));
            }
        }
        Ok(Self { num_features, affine, running, config })
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

    /// Normalises a batch by its own statistics and returns them.
    fn by_batch(&self, x: &Tensor) -> Result<(Tensor, Moments)> {
        let count = x.elem_count() / self.num_features;
        if count < 2 {
            let expected = "of at least 2 values a channel to have a variance (a larger batch, or \
                            `train` false with running statistics)";
            let received = format!("shape {:?}, {count} a channel", x.dims());
            return Err(Error::argument("BatchNorm::forward_t", "x", expected, received));
        }
        let (weight, bias) = match &self.affine {
            Some((weight, bias)) => (weight.to_dtype(x.dtype())?, bias.to_dtype(x.dtype())?),
            None => {
                let ones = Tensor::ones(self.num_features, x.dtype(), x.device())?;
                (ones.clone(), ones.zeros_like()?)
            }
        };
        let divisor = self.config.batch_variance.divisor(count);
        match x.device() {
            Device::Cpu => fused(x, &weight, &bias, divisor, self.config.eps),
            _ => composed(x, &weight, &bias, divisor, self.config.eps),
        }
    }

    /// Normalises by the running statistics.
    fn by_running(&self, x: &Tensor, running: &RunningStatistics) -> Result<Tensor> {
        let channels = |tensor: &Tensor| along_channels(&tensor.to_dtype(x.dtype())?, x.rank());
        let mean = running.mean.as_detached_tensor();
        let variance = running.variance.as_detached_tensor().to_dtype(x.dtype())?;
        let std = channels(&(variance + self.config.eps)?.sqrt()?)?;
        let centred = x.broadcast_sub(&channels(&mean)?)?;
        Ok(match &self.affine {
            None => centred.broadcast_div(&std)?,
            Some((weight, bias)) => centred
                .broadcast_mul(&(channels(weight)? / std)?)?
                .broadcast_add(&channels(bias)?)?,
        })
    }

    /// Moves the running statistics by those of a batch.
    fn track(&self, moments: &Moments) -> Result<()> {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let batches = running.num_batches_tracked.to_scalar::<i64>()? + 1;
        running.num_batches_tracked.set(&Tensor::new(batches, running.mean.device())?)?;
        let momentum = match self.config.momentum {
            Momentum::Exponential(momentum) => momentum,
            Momentum::Cumulative => 1.0 / batches as f64,
        };
        let variance = (&moments.squares / self.config.running_variance.divisor(moments.count))?;
        for (running, batch) in [(&running.mean, &moments.mean), (&running.variance, &variance)] {
            let batch = (batch * momentum)?.to_dtype(running.dtype())?;
            running.set(&((running.as_detached_tensor() * (1.0 - momentum))? + batch)?)?;
        }
        Ok(())
    }
}

impl ModuleT for BatchNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        check_input(x, self.num_features)?;
        let dtype = x.dtype();
        let x = match dtype {
            DType::F16 | DType::BF16 => x.to_dtype(DType::F32)?,
            _ => x.clone(),
        };
        let y = match &self.running {
            Some(running) if !train => self.by_running(&x, running)?,
            _ => {
                let (y, moments) = self.by_batch(&x)?;
                if train {
                    self.track(&moments)?;
                }
                y
            }
        };
        y.to_dtype(dtype)
    }
}

/// The statistics of a batch, detached.
struct Moments {
    /// (C).
    mean: Tensor,
    /// The sums of the squared distances from the mean, (C).
    squares: Tensor,
    /// The number of values in each channel.
    count: usize,
}

/// The twin of [`fused`] in candle's operations.
fn composed(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    divisor: f64,
    eps: f64,
) -> Result<(Tensor, Moments)> {
    let channels = weight.elem_count();
    let columns = x.transpose(0, 1)?.contiguous()?;
    let shape = columns.shape().clone();
    let columns = columns.reshape((channels, ()))?;
    // Any shift leaves the result as it is and needs no gradient; one near the mean makes the distances
    // small, so that their own mean has no rounding of the mean's size.
    let shift = columns.detach().mean_keepdim(1)?;
    let columns = columns.broadcast_sub(&shift)?;
    let mean = columns.mean_keepdim(1)?;
    let centred = columns.broadcast_sub(&mean)?;
    let squares = centred.sqr()?.sum_keepdim(1)?;
    let std = ((&squares / divisor)? + eps)?.sqrt()?;
    let scale = (weight.unsqueeze(1)? / std)?;
    let y = centred.broadcast_mul(&scale)?.broadcast_add(&bias.unsqueeze(1)?)?;
    let moments = Moments {
        mean: (mean + shift)?.squeeze(1)?.detach(),
        squares: squares.squeeze(1)?.detach(),
        count: x.elem_count() / channels,
    };
    Ok((y.reshape(shape)?.transpose(0, 1)?.contiguous()?, moments))
}

/// `tensor` (C) in a shape that broadcasts along axis 1 of `rank` axes.
fn along_channels(tensor: &Tensor, rank: usize) -> candle_core::Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = tensor.elem_count();
    tensor.reshape(shape)
}

fn check_config(num_features: usize, config: &BatchNormConfig) -> Result<()> {
    if num_features == 0 {
        return Err(invalid("num_features", "at least 1", 0));
    }
    // Written so that NaN is refused.
    if !(config.eps > 0.0 && config.eps.is_finite()) {
        return Err(invalid("eps", "above 0 and finite", config.eps));
    }
    match config.momentum {
        Momentum::Exponential(momentum) if !(0.0..=1.0).contains(&momentum) => {
            Err(invalid("momentum", "from 0 to 1", momentum))
        }
        _ => Ok(()),
    }
}

fn check_present(argument: &str, expected: bool, received: bool) -> Result<()> {
    let name = |there: bool| if there { "given" } else { "none" };
    if expected == received {
        return Ok(());
    }
    Err(invalid(argument, &format!("{}, as the config says", name(expected)), name(received)))
}

fn check_tensor(argument: &str, tensor: &Tensor, num_features: usize) -> Result<()> {
    if tensor.dims() == [num_features] && is_computable(tensor.dtype()) {
        return Ok(());
    }
    let received = format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
    Err(invalid(argument, &format!("f64, f32, bf16 or f16 of shape [{num_features}]"), received))
}

fn check_input(x: &Tensor, num_features: usize) -> Result<()> {
    let wrong = |expected: String, received: String| {
        Err(Error::argument("BatchNorm::forward_t", "x", expected, received))
    };
    if !(2..=5).contains(&x.rank()) || x.dims()[1] != num_features {
        let expected = format!("(N, {num_features}) with up to 3 more axes");
        return wrong(expected, format!("{:?}", x.dims()));
    }
    if !is_computable(x.dtype()) {
        return wrong("f64, f32, bf16 or f16".to_owned(), format!("{:?}", x.dtype()));
    }
    Ok(())
}

fn is_computable(dtype: DType) -> bool {
    matches!(dtype, DType::F64 | DType::F32 | DType::BF16 | DType::F16)
}

fn invalid(argument: &str, expected: &str, received: impl std::fmt::Display) -> Error {
    Error::argument("BatchNorm", argument, expected, received)
}

#[cfg(test)]
mod tests {
    use candle_core::Shape;
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

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for shape in [vec![6, 3], vec![4, 3, 5], vec![2, 3, 2, 4], vec![1, 3, 2, 2, 2]] {
                let mut variable = |shape| {
                    Var::from_tensor(&noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu)?)
                };
                let x = variable(Shape::from(shape.clone()))?;
                let (weight, bias) = (variable(Shape::from(3))?, variable(Shape::from(3))?);
                let upstream = variable(Shape::from(shape))?;
                let run = |twin: Twin| -> Result<Vec<Tensor>> {
                    let (y, moments) = twin(&x, &weight, &bias, 3.5, 1e-5)?;
                    let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                    let mut gradients = loss.backward()?;
                    let mut results = vec![y, moments.mean, moments.squares];
                    for variable in [&x, &weight, &bias] {
                        results.extend(gradients.remove(variable));
                    }
                    Ok(results)
                };
                let (fused, composed) = (run(fused)?, run(composed)?);
                assert_eq!((fused.len(), composed.len()), (6, 6));
                for (fused, composed) in fused.iter().zip(composed) {
                    assert_close(&fused.to_dtype(dtype)?, &composed, tolerance);
                }
            }
        }
        Ok(())
    }

    type Twin = fn(&Tensor, &Tensor, &Tensor, f64, f64) -> Result<(Tensor, Moments)>;

    #[test]
    fn both_keep_the_variance_of_a_far_mean() -> Result<()> {
        // Mean 1e4 and standard deviation near 1e-2, as f32 holds it.
        let x = stream(5, "test").normal(1e4, 1e-2, (256, 4), DType::F32, &Device::Cpu)?;
        let wide = x.to_dtype(DType::F64)?;
        let mean = wide.mean_keepdim(0)?;
        let squares = wide.broadcast_sub(&mean)?.sqr()?.sum(0)?;
        let ones = Tensor::ones(4, DType::F32, &Device::Cpu)?;
        for twin in [fused as Twin, composed as Twin] {
            let (y, moments) = twin(&x, &ones, &ones.zeros_like()?, 256.0, 1e-12)?;
            assert_close(&moments.squares.to_dtype(DType::F64)?, &squares, 1e-5);
            assert_close(&moments.mean.to_dtype(DType::F64)?, &mean.squeeze(0)?, 1e-7);
            let spread = y.to_dtype(DType::F64)?.sqr()?.mean(0)?;
            assert_close(&spread, &spread.ones_like()?, 1e-5);
        }
        Ok(())
    }
}
