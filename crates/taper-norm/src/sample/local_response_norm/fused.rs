//! Local response normalization as one candle operation.

use candle_core::{Shape, Tensor};
use taper_core::op::{self, Destination, Operation, Scalar, Values, Work};
use taper_kernels::buffer;
use taper_kernels::norm::LocalResponseNorm;

/// Normalises x of these sizes.
pub(super) fn apply(sizes: LocalResponseNorm, x: &Tensor) -> candle_core::Result<Tensor> {
    op::apply(Fused(sizes), &[x], x.shape())
}

struct Fused(LocalResponseNorm);

impl Operation for Fused {
    const NAME: &'static str = "local_response_norm";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let x = arguments[0];
        let mut y = buffer(x.len());
        self.0.forward(x, &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let [of_x] = op::places(gradients);
        if let Some((of_x, update)) = of_x {
            self.0.backward(values.arguments[0], values.upstream, of_x, update);
        }
        Ok(())
    }

    /// A square and a sum for each neighbour; a product and a sum, the power and a product for the rest.
    fn work(&self, arguments: &[&Shape]) -> Work {
        Work::of_elements(arguments[0].elem_count(), 2 * self.0.size as u64 + 3)
    }
}
