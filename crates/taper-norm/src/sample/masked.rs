//! Normalization by the statistics of some places of a sample: the others are padding.

use candle_core::{DType, Module, Tensor};
use taper_core::{Activation, Error, Result};

use super::terms::{Terms, channel_shape};
use crate::arguments::{described, is_half};

/// What a pass found in each group of each sample, (N, G, 1), detached.
pub(super) struct Found {
    /// How many values are there, 1 where there is none.
    pub(super) count: Tensor,
    pub(super) mean: Tensor,
    /// The sum of the squared distances from the mean.
    pub(super) squares: Tensor,
}

/// That `mask` is one of the places of `x` (N, C, places...).
pub(super) fn check(operation: &'static str, x: &Tensor, mask: &Tensor) -> Result<()> {
    let shape = [&x.dims()[..1], &x.dims()[2..]].concat();
    if mask.dims() == shape && mask.dtype() == DType::U8 {
        return Ok(());
    }
    let expected = format!("U8 of shape {shape:?}");
    Err(Error::argument(operation, "mask", expected, described(mask)))
}

/// Where x is there, of its shape.
pub(super) fn there(x: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    mask.ne(0u8)?.unsqueeze(1)?.broadcast_as(x.shape())?.contiguous()
}

/// `x`, and 0 where it is not `there`: a choice, so that what is left out may be NaN and has no gradient.
pub(super) fn keep(x: &Tensor, there: &Tensor) -> candle_core::Result<Tensor> {
    there.where_cond(x, &x.zeros_like()?)
}

/// y by the statistics of the places whose mask is not 0, and 0 at the others.
pub(super) fn forward(
    terms: Terms<'_>,
    mask: &Tensor,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> candle_core::Result<(Tensor, Found)> {
    let x = terms.x;
    if is_half(x.dtype()) {
        let wide = x.to_dtype(DType::F32)?;
        let (y, found) = forward(Terms { x: &wide, ..terms }, mask, groups, eps, activation)?;
        return Ok((y.to_dtype(x.dtype())?, found));
    }
    let there = there(x, mask)?;
    let length = x.dims()[1..].iter().product::<usize>() / groups;
    let shape = (x.dims()[0], groups, length);
    let (rows, of_rows) = (keep(x, &there)?.reshape(shape)?, there.reshape(shape)?);
    // Of no values all is 0, whatever it is divided by.
    let count = of_rows.to_dtype(x.dtype())?.sum_keepdim(2)?.maximum(1.0)?;
    let mean = |rows: &Tensor| rows.sum_keepdim(2)?.broadcast_div(&count);
    // A shift near the mean, as without a mask.
    let shift = mean(&rows.detach())?;
    let rows = keep(&rows.broadcast_sub(&shift)?, &of_rows)?;
    let rest = mean(&rows)?;
    let rows = keep(&rows.broadcast_sub(&rest)?, &of_rows)?;
    let squares = rows.sqr()?.sum_keepdim(2)?;
    let std = (squares.broadcast_div(&count)? + eps)?.sqrt()?;
    let normal = rows.broadcast_div(&std)?.reshape(x.shape())?;
    let y = activation.forward(&terms.affine(normal, &channel_shape(x))?)?;
    let found = Found { count, mean: (shift + rest)?.detach(), squares: squares.detach() };
    Ok((keep(&y, &there)?, found))
}
