//! Running statistics estimated anew over many batches.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::Tensor;
use taper_core::{Error, Result};

use super::normalize::Moments;
use super::{BatchNorm, RunningStatistics, Variance};

/// Sets the running statistics of `norms` to those of all values that reach them while `forward` runs the model in
/// training on each of `batches`: what evaluation needs, without the lag and the few batches of a moving average.
///
/// # Equation
/// μ = Σ n_b μ_b / n and σ² = Σ n_b (σ_b² + μ_b²) / n − μ²
///
/// over batches b of n_b values a channel with their own μ_b and biased σ_b², n = Σ n_b; `running_var` becomes σ²,
/// or n σ² / (n − 1) where the layer's `running_variance` is [`Variance::Unbiased`]. With all norms at once, each
/// sees what the norms before it make of a batch in training.
///
/// # Shapes
/// μ, σ² (C) of each norm.
///
/// # Parameters
/// - `norms`: layers of the model, with running statistics.
/// - `batches`: of the size and kind used in training; some thousand samples are enough.
/// - `forward`: calls the model with `train` true; its result is not needed. No parameter changes.
///
/// # Numerics
/// The sums are in f64 and of squared distances from the mean, not the equation's difference of large numbers. A
/// batch is forgotten once it is counted.
///
/// # Deviations
/// 1. From the paper: batches count by their size, so that a smaller last one does not count for more; its plain
///    average over batches is the same for equal ones.
/// 2. From the paper: the variance is unbiased by default, as all running variances here are; over many values
///    that is no difference.
/// 3. The momentum plays no part, and `num_batches_tracked` does not count these batches: training can go on
///    from the new statistics as if it had reached them.
///
/// # Errors
/// A norm without running statistics, no norms, one that no batch reached; an error of `forward`. After an error
/// nothing has changed.
///
/// # References
/// - Wu and Johnson 2021, Rethinking "Batch" in BatchNorm, section 3, <https://arxiv.org/abs/2105.07576>.
/// - Ioffe and Szegedy 2015, algorithm 2 (statistics of the training set, computed after training),
///   <https://arxiv.org/abs/1502.03167>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{BatchNormConfig, batch_norm, precise_statistics};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = batch_norm(1, BatchNormConfig::default(), vb)?;
///
/// let batches = [[[1.0], [3.0]], [[5.0], [7.0]]];
/// precise_statistics(&[&norm], batches, |batch| {
///     norm.forward_t(&Tensor::new(&batch, &Device::Cpu)?, true)?;
///     Ok(())
/// })?;
/// let running = norm.running_statistics().expect("kept by default");
/// assert_eq!(running.mean.to_vec1::<f64>()?, [4.0]);
/// // 9 + 1 + 1 + 9 over 4 - 1.
/// assert!((running.variance.to_vec1::<f64>()?[0] - 20.0 / 3.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn precise_statistics<B>(
    norms: &[&BatchNorm],
    batches: impl IntoIterator<Item = B>,
    mut forward: impl FnMut(B) -> Result<()>,
) -> Result<()> {
    if norms.is_empty() {
        return Err(invalid("norms", "at least one", "none"));
    }
    let mut recordings = Vec::new();
    for (at, norm) in norms.iter().enumerate() {
        let Some(running) = norm.running_statistics() else {
            let expected = "a layer with running statistics (`track_running_stats`)";
            return Err(invalid(&format!("norms[{at}]"), expected, "one without"));
        };
        let variance = norm.config().running_variance;
        recordings.push((Recording::start(norm.recorder()), running, variance));
    }
    for batch in batches {
        forward(batch)?;
    }
    let mut found = Vec::new();
    for (at, (recording, running, variance)) in recordings.iter().enumerate() {
        let Some(moments) = recording.moments() else {
            let expected =
                "reached by a batch in training (`forward` calls the model with `train` true)";
            return Err(invalid(&format!("norms[{at}]"), expected, "no batch"));
        };
        found.push((*running, moments, *variance));
    }
    found.into_iter().try_for_each(|(running, moments, variance)| set(running, &moments, variance))
}

fn set(running: &RunningStatistics, moments: &Moments, variance: Variance) -> Result<()> {
    for (var, values) in
        [(&running.mean, &moments.mean), (&running.variance, &moments.variance(variance))]
    {
        let values = Tensor::new(values.as_slice(), var.device())?;
        var.set(&values.to_dtype(var.dtype())?)?;
    }
    Ok(())
}

/// Where a layer puts its batches instead of moving its running statistics, while a [`Recording`] lives. Clones
/// of a layer share it, as they share the statistics.
#[derive(Debug, Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<State>>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Off,
    Empty,
    /// The moments of all batches.
    Recorded(Moments),
}

impl Recorder {
    /// Records `batches`, or gives them back where none are wanted.
    pub(super) fn take(&self, batches: Vec<Moments>) -> Option<Vec<Moments>> {
        let mut state = self.state();
        if matches!(*state, State::Off) {
            return Some(batches);
        }
        for batch in batches {
            match &mut *state {
                State::Recorded(all) => merge(all, &batch),
                State::Off | State::Empty => *state = State::Recorded(batch),
            }
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time in which a recorder records.
struct Recording<'a>(&'a Recorder);

impl<'a> Recording<'a> {
    fn start(recorder: &'a Recorder) -> Self {
        *recorder.state() = State::Empty;
        Self(recorder)
    }

    /// Those of all batches, none where there was none.
    fn moments(&self) -> Option<Moments> {
        match &*self.0.state() {
            State::Recorded(moments) => Some(moments.clone()),
            State::Off | State::Empty => None,
        }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        *self.0.state() = State::Off;
    }
}

/// Takes `batch` into the moments of `all`.
fn merge(all: &mut Moments, batch: &Moments) {
    let count = all.count + batch.count;
    let part = batch.count as f64 / count as f64;
    let means = all.mean.iter_mut().zip(&batch.mean);
    let squares = all.squares.iter_mut().zip(&batch.squares);
    for ((mean, of_batch), (squares, more)) in means.zip(squares) {
        let distance = of_batch - *mean;
        *squares += more + distance * distance * part * all.count as f64;
        *mean += distance * part;
    }
    all.count = count;
}

fn invalid(argument: &str, expected: &str, received: &str) -> Error {
    Error::argument("precise_statistics", argument, expected, received)
}
