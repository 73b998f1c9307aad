//! One step over all parameters: in place where there are kernels, else in candle's operations.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor, Var};
use taper_kernels::optim::for_each;

use crate::op::{self, Scalar, by_dtype};
use crate::{Gradient, Result};

/// What an optimizer does with one parameter.
pub(super) trait Rule: Send {
    /// In place, in one pass over memory.
    fn fused<T: Scalar>(&mut self, parameter: &mut [T], gradient: &[T]) -> candle_core::Result<()>;

    /// The twin of [`fused`](Self::fused) in candle's operations: `var` after the step.
    fn composed(&mut self, var: &Var, gradient: Tensor) -> candle_core::Result<Tensor>;
}

/// One parameter in a step.
pub(super) struct Item<'a, R> {
    pub(super) var: &'a Var,
    pub(super) gradient: Gradient<'a>,
    pub(super) rule: R,
}

/// Takes one step. Large parameters follow each other, each spread over the threads; the small ones share one
/// fork-join. Never is more than one variable locked by a thread: two in an order that another thread does
/// not keep would wait for each other.
pub(super) fn step<R: Rule>(items: Vec<Item<'_, R>>) -> Result<()> {
    let mut items: Vec<_> = items.into_iter().map(|item| (item, Ok(()))).collect();
    for_each(
        &mut items,
        // candle's operations run on this thread, as what is large does.
        |(item, _)| if op::has_kernels(item.var) { item.var.elem_count() } else { usize::MAX },
        |(item, result)| *result = item.step(),
    );
    items.into_iter().try_for_each(|(_, result)| result)
}

impl<R: Rule> Item<'_, R> {
    fn step(&mut self) -> Result<()> {
        if op::has_kernels(self.var) {
            return Ok(by_dtype!("optimizer", self.var.dtype(), T => self.fused::<T>())?);
        }
        if self.var.elem_count() == 0 {
            // candle returns its argument for some operations on nothing, which `set` then refuses.
            return Ok(());
        }
        let parameter = self.rule.composed(self.var, self.gradient.to_tensor()?)?;
        Ok(self.var.set(&parameter)?)
    }

    fn fused<T: Scalar>(&mut self) -> candle_core::Result<()> {
        let (var, rule) = (self.var, RefCell::new(&mut self.rule));
        self.gradient
            .read::<T, _>(Some(var), |gradient| var.inplace_op1(&InPlace { rule, gradient }))?
    }
}

struct InPlace<'r, 'a, R, T> {
    rule: RefCell<&'r mut R>,
    gradient: &'a [T],
}

impl<R: Rule, T: Scalar> InplaceOp1 for InPlace<'_, '_, R, T> {
    fn name(&self) -> &'static str {
        "optimizer"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        self.rule.borrow_mut().fused(op::elements_mut(storage, layout)?, self.gradient)
    }
}
