//! Losses of batches of embeddings, in which each row meets all others.

use candle_core::{D, DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::LossOptions;
use crate::arguments::{beside, expect_shape, precision};
use crate::elements::Elements;

/// The norm below which an embedding has no direction, as in `torch.nn.functional.normalize`.
pub(crate) const SHORTEST: f64 = 1e-12;

/// `x` in the dtype of the computation, if it is (N, D) with at least one dimension.
pub(crate) fn rows(operation: &'static str, argument: &str, x: &Tensor) -> Result<Tensor> {
    let dtype = precision(operation, argument, x)?;
    match x.dims() {
        [_, dimension] if *dimension > 0 => Ok(x.to_dtype(dtype)?),
        dims => {
            let expected = "of shape (N, D) with at least one dimension D";
            Err(Error::argument(operation, argument, expected, format!("{dims:?}")))
        }
    }
}

/// Two views of a batch.
pub(crate) fn views(
    operation: &'static str,
    first: &Tensor,
    second: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let wide = rows(operation, "first", first)?;
    Ok((wide, beside(operation, "second", second, "first", first)?))
}

/// The number of rows of `x`, of which there should be several.
pub(crate) fn several(operation: &'static str, argument: &str, x: &Tensor) -> Result<usize> {
    match x.dim(0)? {
        0 | 1 => {
            let received = format!("{:?}", x.dims());
            Err(Error::argument(operation, argument, "of at least two rows", received))
        }
        count => Ok(count),
    }
}

/// The labels on the host, if there is one for each of so many rows.
pub(crate) fn labels(operation: &'static str, labels: &Tensor, rows: usize) -> Result<Vec<i64>> {
    if !labels.dtype().is_int() {
        let received = format!("{:?}", labels.dtype());
        return Err(Error::argument(operation, "labels", "of an integer dtype", received));
    }
    expect_shape(operation, "labels", labels, &[rows])?;
    Ok(labels.to_device(&Device::Cpu)?.to_dtype(DType::I64)?.to_vec1()?)
}

/// Which of two kinds each loss is of, in the dtype of the computation and without gradient, if every one that counts
/// has one of the two `values`. Comparisons and labels give it, so it may be of any dtype.
pub(crate) fn kinds(
    operation: &'static str,
    target: &Tensor,
    values: [i8; 2],
    dtype: DType,
    elements: &Elements,
) -> Result<Tensor> {
    expect_shape(operation, "target", target, elements.shape().dims())?;
    let target = target.detach().to_dtype(dtype)?;
    let [high, low] = values;
    let is_right = |value| value == f64::from(high) || value == f64::from(low);
    elements.expect("target", &target, &format!("{high} or {low}"), is_right)?;
    elements.hide(&target)
}

/// max(0, x), with the derivative 0 at 0, where that of candle's relu is 1.
pub(crate) fn hinge(x: &Tensor) -> Result<Tensor> {
    // What is not above 0 is cut off, not what is kept, so that NaN stays.
    Ok(x.le(0.0)?.where_cond(&x.zeros_like()?, x)?)
}

/// The rows of a batch, of which each has a loss.
pub(crate) fn elements(
    operation: &'static str,
    argument: &'static str,
    x: &Tensor,
    options: &LossOptions,
) -> Result<Elements> {
    Elements::new(operation, argument, x.dim(0)?, options)
}

/// That `temperature` is above 0 and finite.
pub(crate) fn check_temperature(operation: &'static str, temperature: f64) -> Result<()> {
    if temperature > 0.0 && temperature.is_finite() {
        return Ok(());
    }
    Err(Error::argument(operation, "temperature", "above 0 and finite", temperature))
}

/// The rows of `x` that count and those behind them that have no loss, in their order.
pub(crate) fn chosen(elements: &Elements, x: &Tensor) -> Result<Tensor> {
    let Some(mut rows) = elements.chosen() else {
        return Ok(x.clone());
    };
    rows.extend(elements.shape().elem_count() as u32..x.dim(0)? as u32);
    let count = rows.len();
    Ok(x.contiguous()?.index_select(&Tensor::from_vec(rows, count, x.device())?, 0)?)
}

/// The rows of the embeddings `x` (N, D) at these places, which are those of the labels that were mined.
pub(crate) fn select(operation: &'static str, x: &Tensor, places: &Tensor) -> Result<Tensor> {
    let there = rows(operation, "embeddings", x)?.dim(0)?;
    let largest = places.to_vec1::<u32>()?.into_iter().max();
    if let Some(largest) = largest.filter(|largest| *largest as usize >= there) {
        let expected = format!("of the labels' rows, at least {}", largest as usize + 1);
        return Err(Error::argument(operation, "embeddings", expected, format!("{there} rows")));
    }
    Ok(x.contiguous()?.index_select(places, 0)?)
}

/// The losses of the rows that count at their places, 0 elsewhere.
pub(crate) fn placed(elements: &Elements, losses: &Tensor) -> Result<Tensor> {
    let Some(rows) = elements.chosen() else {
        return Ok(losses.clone());
    };
    let all = Tensor::zeros(elements.shape(), losses.dtype(), losses.device())?;
    let rows = Tensor::from_vec(rows, losses.dim(0)?, losses.device())?;
    Ok(all.index_add(&rows, losses, 0)?)
}

/// The losses of rows of `x` none of which counts: 0, with the gradient 0.
pub(crate) fn none(x: &Tensor) -> Result<Tensor> {
    let nothing = x.zeros_like()?;
    let no = nothing.to_dtype(DType::U8)?;
    Ok(no.where_cond(x, &nothing)?.sum(1)?)
}

/// Each row, along the last axis, over its norm; one without a direction over [`SHORTEST`], and without a gradient.
pub(crate) fn unit(x: &Tensor) -> Result<Tensor> {
    let square = x.sqr()?.sum_keepdim(D::Minus1)?;
    let short = square.lt(SHORTEST * SHORTEST)?;
    let norm = short.where_cond(&square.ones_like()?, &square)?.sqrt()?;
    let short = short.broadcast_as(x.shape())?;
    Ok(short.where_cond(&(x.detach() / SHORTEST)?, &x.broadcast_div(&norm)?)?)
}

/// The cosines of the rows of `x` with those of `y` over the temperature.
pub(crate) fn similarities(x: &Tensor, y: &Tensor, temperature: f64) -> Result<Tensor> {
    Ok((unit(x)?.matmul(&unit(y)?.t()?)? / temperature)?)
}

/// −∞ on the diagonal of a square matrix, which gets no gradient there: no row meets itself.
pub(crate) fn without_diagonal(x: &Tensor) -> Result<Tensor> {
    let diagonal = Tensor::eye(x.dim(0)?, DType::U8, &Device::Cpu)?.to_device(x.device())?;
    let nothing = (x.ones_like()? * f64::NEG_INFINITY)?;
    Ok(diagonal.where_cond(&nothing, x)?)
}
