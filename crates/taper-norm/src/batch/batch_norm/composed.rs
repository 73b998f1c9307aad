//! Batch normalization in candle's operations: the twin of the fused one.

use candle_core::{Module, Tensor};

use super::fused::numbers;
use super::{BatchNorm, RunningStatistics};

impl BatchNorm {
    /// The twin of [`fused`](Self::fused) in candle's operations.
    pub(super) fn composed(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        running: Option<&RunningStatistics>,
        count: usize,
        update: Option<usize>,
    ) -> candle_core::Result<Tensor> {
        let y = match running {
            Some(running) => self.by_running(x, running)?,
            None => {
                let divisor = self.config.batch_variance.divisor(count);
                let (y, moments) = by_batch(x, self.affine.as_ref(), divisor, self.config.eps)?;
                self.track(update, &numbers(&moments.mean)?, &numbers(&moments.squares)?)?;
                y
            }
        };
        let y = match residual {
            Some(residual) => (y + residual)?,
            None => y,
        };
        self.config.activation.forward(&y)
    }

    /// Normalises by the running statistics.
    fn by_running(&self, x: &Tensor, running: &RunningStatistics) -> candle_core::Result<Tensor> {
        let channels = |tensor: &Tensor| along_channels(&tensor.to_dtype(x.dtype())?, x.rank());
        let mean = running.mean.as_detached_tensor();
        let variance = running.variance.as_detached_tensor().to_dtype(x.dtype())?;
        let std = channels(&(variance + self.config.eps)?.sqrt()?)?;
        let centred = x.broadcast_sub(&channels(&mean)?)?;
        match &self.affine {
            None => centred.broadcast_div(&std),
            Some((weight, bias)) => {
                centred.broadcast_mul(&(channels(weight)? / std)?)?.broadcast_add(&channels(bias)?)
            }
        }
    }
}

/// The statistics of a batch, detached.
struct Moments {
    /// (C).
    mean: Tensor,
    /// The sums of the squared distances from the mean, (C).
    squares: Tensor,
}

/// Normalises by the batch's own statistics in candle's operations, and returns them.
fn by_batch(
    x: &Tensor,
    affine: Option<&(Tensor, Tensor)>,
    divisor: f64,
    eps: f64,
) -> candle_core::Result<(Tensor, Moments)> {
    let columns = x.transpose(0, 1)?.contiguous()?;
    let shape = columns.shape().clone();
    let columns = columns.reshape((x.dims()[1], ()))?;
    // Any shift leaves the result as it is and needs no gradient; one near the mean makes the distances
    // small, so that their own mean has no rounding of the mean's size.
    let shift = columns.detach().mean_keepdim(1)?;
    let columns = columns.broadcast_sub(&shift)?;
    let mean = columns.mean_keepdim(1)?;
    let centred = columns.broadcast_sub(&mean)?;
    let squares = centred.sqr()?.sum_keepdim(1)?;
    let std = ((&squares / divisor)? + eps)?.sqrt()?;
    let y = match affine {
        None => centred.broadcast_div(&std)?,
        Some((weight, bias)) => {
            let of_channel = |tensor: &Tensor| tensor.to_dtype(x.dtype())?.unsqueeze(1);
            let scale = (of_channel(weight)? / std)?;
            centred.broadcast_mul(&scale)?.broadcast_add(&of_channel(bias)?)?
        }
    };
    let moments = Moments {
        mean: (mean + shift)?.squeeze(1)?.detach(),
        squares: squares.squeeze(1)?.detach(),
    };
    Ok((y.reshape(shape)?.transpose(0, 1)?.contiguous()?, moments))
}

/// `tensor` (C) in a shape that broadcasts along axis 1 of `rank` axes.
fn along_channels(tensor: &Tensor, rank: usize) -> candle_core::Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = tensor.elem_count();
    tensor.reshape(shape)
}
