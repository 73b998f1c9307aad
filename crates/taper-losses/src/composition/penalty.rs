//! Penalties that are a sum of one term of each element.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::op::Scalar;
use taper_core::{Error, Result};
use taper_kernels::loss::{Wanted, pointwise_by};

use crate::arguments::precision;
use crate::elements::Elements;
use crate::fused::Loss;
use crate::{LossOptions, Reduction};

/// A term of an element.
pub(super) trait Term: Clone + Send + Sync + 'static {
    /// The name of the operation.
    const NAME: &'static str;

    /// The term of x and its derivative.
    fn rule(&self, x: f64) -> (f64, f64);

    /// The twin in candle's operations.
    fn composed(&self, x: &Tensor) -> Result<Tensor>;
}

/// The terms of the elements of `x`, which is in the dtype of the computation and has some where this is a mean.
pub(super) fn reduced<T: Term>(term: T, x: &Tensor, reduction: Reduction) -> Result<Tensor> {
    let options = LossOptions { reduction, ..Default::default() };
    Elements::new(T::NAME, "x", x.shape(), &options)?.reduce(x, Of(term), None)
}

/// The sum of the terms of all elements of all `tensors`.
pub(super) fn summed<'a, T: Term>(
    term: T,
    tensors: impl IntoIterator<Item = &'a Tensor>,
) -> Result<Tensor> {
    let mut sums: Vec<Tensor> = Vec::new();
    for (at, x) in tensors.into_iter().enumerate() {
        let argument = format!("tensors[{at}]");
        let x = x.to_dtype(precision(T::NAME, &argument, x)?)?;
        if let Some(first) = sums.first() {
            expect_alike::<T>(argument, &x, first)?;
        }
        sums.push(reduced(term.clone(), &x, Reduction::Sum)?);
    }
    match sums.as_slice() {
        [] => Err(Error::argument(T::NAME, "tensors", "at least one", "none")),
        [sum] => Ok(sum.clone()),
        // Not one by one: the backward pass recurses as deep as the graph is.
        _ => Ok(Tensor::stack(&sums, 0)?.sum_all()?),
    }
}

/// That `x` is computed in the dtype and on the device of the `first` tensor.
fn expect_alike<T: Term>(argument: String, x: &Tensor, first: &Tensor) -> Result<()> {
    let of = |x: &Tensor| format!("{:?} on {:?}", x.dtype(), x.device().location());
    if x.dtype() == first.dtype() && x.device().same_device(first.device()) {
        return Ok(());
    }
    let expected = format!("computed in {}, as tensors[0] is", of(first));
    Err(Error::argument(T::NAME, argument, expected, of(x)))
}

/// A term as a loss.
#[derive(Clone)]
struct Of<T>(T);

impl<T: Term> Loss for Of<T> {
    const NAME: &'static str = T::NAME;

    fn evaluate<S: Scalar>(&self, x: &[S], wanted: Wanted<'_, S>) -> CandleResult<f64> {
        // The kernel's target has to be of the input's length; no term looks at it.
        Ok(pointwise_by(x, x, wanted, |x, _| self.0.rule(x)))
    }

    fn composed(&self, x: &Tensor, elements: &Elements) -> Result<Tensor> {
        self.0.composed(&elements.hide(x)?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::elements::tests::Random;

    /// That the fused and the composed terms of `x` agree.
    pub(in crate::composition) fn twins_agree<T: Term>(random: &Random, x: &Tensor, term: T) {
        random.twins_agree(x, x.shape(), || Of(term.clone()));
    }
}
