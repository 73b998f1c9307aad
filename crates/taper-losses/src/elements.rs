//! What every loss does around its equation: leave elements out, weigh them, reduce them.

use candle_core::{DType, Shape, Tensor};
use taper_core::{Error, Result};

use crate::arguments::{checked_weights, to_host};
use crate::{Empty, Reduction};

/// Which of a loss's elements count, and how much.
pub(crate) struct Elements {
    operation: &'static str,
    shape: Shape,
    /// Of `shape`; `None` where all are 1.
    weights: Option<Tensor>,
    /// Of `shape`, not 0 where an element counts; `None` where all do.
    mask: Option<Tensor>,
    /// The argument to blame when nothing counts.
    emptied_by: &'static str,
}

impl Elements {
    /// The elements of the losses of this shape, which come from `argument`.
    ///
    /// `sample_weights` and `mask` have the leading part of that shape.
    pub(crate) fn new(
        operation: &'static str,
        argument: &'static str,
        shape: impl Into<Shape>,
        sample_weights: Option<&Tensor>,
        mask: Option<&Tensor>,
    ) -> Result<Self> {
        let mut elements = Self {
            operation,
            shape: shape.into(),
            weights: None,
            mask: None,
            emptied_by: argument,
        };
        if let Some(weights) = sample_weights {
            elements.expect_leading("sample_weights", weights)?;
            let weights = checked_weights(operation, "sample_weights", weights, weights.dtype())?;
            elements.weights = Some(spread(&weights, elements.shape.dims())?);
        }
        if let Some(mask) = mask {
            elements.expect_leading("mask", mask)?;
            if mask.dtype() != DType::U8 {
                let received = format!("{:?}", mask.dtype());
                let expected = "u8, as comparisons give it: not 0 where an element counts";
                return Err(Error::argument(operation, "mask", expected, received));
            }
            elements = elements.keep("mask", &mask.detach())?;
        }
        Ok(elements)
    }

    /// Leaves out the elements where `mask`, which comes from `argument` and has the leading part of the
    /// shape, is 0.
    pub(crate) fn keep(mut self, argument: &'static str, mask: &Tensor) -> Result<Self> {
        let mask = spread(&mask.ne(0u8)?, self.shape.dims())?;
        self.mask = Some(match self.mask {
            Some(already) => (already * mask)?,
            None => mask,
        });
        if self.shape.elem_count() > 0 {
            self.emptied_by = argument;
        }
        Ok(self)
    }

    /// `x` with 0 in place of the elements that do not count.
    ///
    /// A loss applies it to what goes *into* its equation: a NaN that is only cut off afterwards still
    /// turns the gradient into NaN. `x` has the losses' shape, or more axes after it.
    pub(crate) fn hide(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match &self.mask {
            Some(mask) => spread(mask, x.dims())?.where_cond(x, &x.zeros_like()?)?,
            None => x.clone(),
        })
    }

    /// The value of the loss from the `losses` of the elements.
    ///
    /// `class_weights`, one for each element, are already multiplied into the losses; they count here
    /// as part of the weights over which a mean is taken.
    pub(crate) fn reduce(
        &self,
        losses: &Tensor,
        class_weights: Option<&Tensor>,
        reduction: Reduction,
        empty: Empty,
    ) -> Result<Tensor> {
        let losses = match &self.weights {
            Some(weights) => (losses * weights.to_dtype(losses.dtype())?)?,
            None => losses.clone(),
        };
        let losses = self.hide(&losses)?;
        let denominator = match reduction {
            Reduction::None => return Ok(losses),
            Reduction::Sum => return Ok(losses.sum_all()?),
            Reduction::Mean => self.count()?,
            Reduction::WeightedMean => self.total_weight(class_weights)?,
        };
        if denominator > 0.0 {
            return Ok((losses.sum_all()? / denominator)?);
        }
        let scalar =
            |value: f64| Ok(Tensor::full(value, (), losses.device())?.to_dtype(losses.dtype())?);
        match empty {
            Empty::Zero => scalar(0.0),
            Empty::Nan => scalar(f64::NAN),
            Empty::Error => Err(self.nothing_left(class_weights.is_some())?),
        }
    }

    fn count(&self) -> Result<f64> {
        Ok(match &self.mask {
            Some(mask) => to_host(mask)?.iter().sum(),
            None => self.shape.elem_count() as f64,
        })
    }

    fn total_weight(&self, class_weights: Option<&Tensor>) -> Result<f64> {
        if self.weights.is_none() && class_weights.is_none() {
            return self.count();
        }
        let weights: Vec<Vec<f64>> = [self.weights.as_ref(), class_weights, self.mask.as_ref()]
            .into_iter()
            .flatten()
            .map(to_host)
            .collect::<Result<_>>()?;
        let weight_of = |at| weights.iter().map(|weights| weights[at]).product::<f64>();
        Ok((0..self.shape.elem_count()).map(weight_of).sum())
    }

    fn nothing_left(&self, has_class_weights: bool) -> Result<Error> {
        let argument = match (self.count()? > 0.0, &self.weights, has_class_weights) {
            (false, ..) => self.emptied_by,
            (true, Some(_), false) => "sample_weights",
            (true, None, _) => "class_weights",
            (true, Some(_), true) => "sample_weights or class_weights",
        };
        let expected = "such that a mean has something to average (or set `empty` to Empty::Zero or \
                        Empty::Nan)";
        let received =
            format!("{} of {} elements, of total weight 0", self.count()?, self.shape.elem_count());
        Ok(Error::argument(self.operation, argument, expected, received))
    }

    fn expect_leading(&self, argument: &str, tensor: &Tensor) -> Result<()> {
        let shape = self.shape.dims();
        if shape.starts_with(tensor.dims()) {
            return Ok(());
        }
        let expected = format!("of the leading part of the losses' shape {shape:?}");
        let received = format!("{:?}", tensor.dims());
        Err(Error::argument(self.operation, argument, expected, received))
    }
}

/// `tensor`, which has the leading part of `dims`, repeated along the others.
fn spread(tensor: &Tensor, dims: &[usize]) -> Result<Tensor> {
    if tensor.dims() == dims {
        return Ok(tensor.clone());
    }
    let mut leading = tensor.dims().to_vec();
    leading.resize(dims.len(), 1);
    Ok(tensor.reshape(leading)?.broadcast_as(dims)?.contiguous()?)
}
