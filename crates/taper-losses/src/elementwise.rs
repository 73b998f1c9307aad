//! Losses of one element against one.

use candle_core::{Result as CandleResult, Tensor};
use taper_core::Result;
use taper_core::op::{self, Scalar};
use taper_kernels::loss::Wanted;

use crate::LossOptions;
use crate::arguments::{precision, target_like};
use crate::elements::Elements;
use crate::fused::Loss;

/// A loss l(x, y) of an element x against its target y.
pub(crate) trait Elementwise: Send + Sync + 'static {
    /// The name of the operation.
    const NAME: &'static str;

    /// The sum of the weighted losses, and what else is wanted.
    fn evaluate<T: Scalar>(
        &self,
        x: &[T],
        target: &[T],
        wanted: Wanted<'_, T>,
    ) -> CandleResult<f64>;

    /// The twin in candle's operations: each loss, without its weight.
    fn composed(&self, x: &Tensor, target: &Tensor) -> Result<Tensor>;

    /// That the elements that count are in the loss's domain.
    fn check(&self, _x: &Tensor, _target: &Tensor, _elements: &Elements) -> Result<()> {
        Ok(())
    }
}

/// The value of a loss of `x`, its argument `name`, against `target`, of the same shape and dtype.
pub(crate) fn elementwise<E: Elementwise>(
    loss: E,
    name: &'static str,
    x: &Tensor,
    target: &Tensor,
    options: &LossOptions,
) -> Result<Tensor> {
    let dtype = precision(E::NAME, name, x)?;
    let target = target_like(E::NAME, target, name, x)?;
    let elements = Elements::new(E::NAME, name, x.shape(), options)?;
    loss.check(x, &target, &elements)?;
    elements.reduce(&x.to_dtype(dtype)?, Against { loss, target }, None)
}

/// A loss and what x is compared with.
pub(crate) struct Against<E> {
    pub(crate) loss: E,
    pub(crate) target: Tensor,
}

impl<E: Elementwise> Loss for Against<E> {
    const NAME: &'static str = E::NAME;

    fn evaluate<T: Scalar>(&self, x: &[T], wanted: Wanted<'_, T>) -> CandleResult<f64> {
        self.loss.evaluate(x, op::Elements::of(&self.target)?.slice()?, wanted)
    }

    fn composed(&self, x: &Tensor, elements: &Elements) -> Result<Tensor> {
        self.loss.composed(&elements.hide(x)?, &elements.hide(&self.target)?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::elements::tests::Random;

    /// That the fused and the composed loss agree against a target of a normal distribution.
    pub(crate) fn twins_agree<E: Elementwise>(random: &Random, loss: impl Fn() -> E) {
        twins_agree_against(random, &random.normal("target", (random.rows, random.columns)), loss);
    }

    /// That the fused and the composed loss agree against `target`, (rows, columns).
    pub(crate) fn twins_agree_against<E: Elementwise>(
        random: &Random,
        target: &Tensor,
        loss: impl Fn() -> E,
    ) {
        let against = || Against { loss: loss(), target: target.clone() };
        random.twins_agree(&random.normal("x", target.shape()), target.shape(), against);
    }
}
