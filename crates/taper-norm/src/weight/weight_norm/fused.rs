//! Weight normalization as one candle operation.

use std::sync::OnceLock;

use candle_core::Tensor;
use taper_core::op::{self, Destination, Operation, Scalar, Values};
use taper_kernels::buffer;
use taper_kernels::norm::{Gradients, WeightNorm};

/// The rows of `direction` with the lengths `magnitude`, which has one number a row.
pub(super) fn apply(magnitude: &Tensor, direction: &Tensor) -> candle_core::Result<Tensor> {
    let rows = magnitude.elem_count();
    let sizes = WeightNorm { rows, columns: direction.elem_count() / rows };
    let op = Fused { sizes, lengths: OnceLock::new() };
    op::apply(op, &[magnitude, direction], direction.shape())
}

struct Fused {
    sizes: WeightNorm,
    /// Of each row, from the forward pass for the backward passes.
    lengths: OnceLock<Vec<f64>>,
}

impl Operation for Fused {
    const NAME: &'static str = "weight_norm";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut weight = buffer(arguments[1].len());
        let lengths = self.sizes.forward(arguments[0], arguments[1], &mut weight);
        // An operation runs forward once.
        let _ = self.lengths.set(lengths);
        Ok(weight)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Some(lengths) = self.lengths.get() else {
            candle_core::bail!("{}: the forward pass left no lengths", Self::NAME);
        };
        let [of_magnitude, of_direction] = op::places(gradients);
        let gradients = Gradients { x: of_direction, weight: of_magnitude, ..Default::default() };
        let Values { arguments, upstream, .. } = values;
        self.sizes.backward(arguments[0], arguments[1], upstream, lengths, gradients);
        Ok(())
    }
}
