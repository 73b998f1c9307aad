//! The normalization in candle's operations: for devices without kernels, and what the tests compare the fused
//! one with.

use candle_core::Tensor;

use super::{Batch, Moments, Normalize, numbers};

impl Normalize<'_> {
    /// By given statistics, but for residual and activation.
    pub(super) fn composed_by_given(
        &self,
        mean: &Tensor,
        variance: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let dtype = self.x.dtype();
        let channels = |tensor: &Tensor| along_channels(&tensor.to_dtype(dtype)?, self.x.rank());
        let std = channels(&(variance.to_dtype(dtype)? + self.eps)?.sqrt()?)?;
        let centred = self.x.broadcast_sub(&channels(mean)?)?;
        match self.affine {
            None => centred.broadcast_div(&std),
            Some((weight, bias)) => {
                centred.broadcast_mul(&(channels(weight)? / std)?)?.broadcast_add(&channels(bias)?)
            }
        }
    }

    /// By the statistics of each part of the batch, but for residual and activation.
    pub(super) fn composed_by_batch(
        &self,
        batch: &Batch,
    ) -> candle_core::Result<(Tensor, Vec<Moments>)> {
        let samples = self.x.dims()[0];
        if samples <= batch.part {
            let (y, moments) = self.composed_part(&self.x, batch)?;
            return Ok((y, vec![moments]));
        }
        let parts = (0..samples).step_by(batch.part.max(1)).map(|start| {
            self.composed_part(&self.x.narrow(0, start, batch.part.min(samples - start))?, batch)
        });
        let (parts, moments): (Vec<Tensor>, Vec<Moments>) =
            parts.collect::<candle_core::Result<Vec<_>>>()?.into_iter().unzip();
        Ok((Tensor::cat(&parts, 0)?, moments))
    }

    fn composed_part(&self, x: &Tensor, batch: &Batch) -> candle_core::Result<(Tensor, Moments)> {
        let columns = x.transpose(0, 1)?.contiguous()?;
        let shape = columns.shape().clone();
        let columns = columns.reshape((x.dims()[1], ()))?;
        let count = columns.dims()[1];
        // Any shift leaves the result as it is and needs no gradient; one near the mean makes the distances
        // small, so that their own mean has no rounding of the mean's size.
        let shift = columns.detach().mean_keepdim(1)?;
        let columns = columns.broadcast_sub(&shift)?;
        let mean = columns.mean_keepdim(1)?;
        let centred = columns.broadcast_sub(&mean)?;
        let squares = centred.sqr()?.sum_keepdim(1)?;
        let std = ((&squares / batch.variance.divisor(count))? + self.eps)?.sqrt()?;
        let mean = numbers(&(mean + shift)?.squeeze(1)?)?;
        let y = centred.broadcast_div(&std)?;
        let y = match &batch.correction {
            None => y,
            Some(correction) => {
                let correction = correction.of(&mean, numbers(&std.squeeze(1)?)?.into_iter());
                let column = |at: usize| {
                    let values: Vec<f64> = correction.iter().map(|pair| pair[at]).collect();
                    Tensor::new(values, x.device())?.to_dtype(x.dtype())?.unsqueeze(1)
                };
                y.broadcast_mul(&column(0)?)?.broadcast_add(&column(1)?)?
            }
        };
        let y = match self.affine {
            None => y,
            Some((weight, bias)) => {
                let of_channel = |tensor: &Tensor| tensor.to_dtype(x.dtype())?.unsqueeze(1);
                y.broadcast_mul(&of_channel(weight)?)?.broadcast_add(&of_channel(bias)?)?
            }
        };
        let moments = Moments { mean, squares: numbers(&squares.squeeze(1)?)?, count };
        Ok((y.reshape(shape)?.transpose(0, 1)?.contiguous()?, moments))
    }
}

/// `tensor` (C) in a shape that broadcasts along axis 1 of `rank` axes.
fn along_channels(tensor: &Tensor, rank: usize) -> candle_core::Result<Tensor> {
    let mut shape = vec![1; rank];
    shape[1] = tensor.elem_count();
    tensor.reshape(shape)
}
