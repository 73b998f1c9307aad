//! The division by σ as one candle operation, whose gradient goes through σ.

use candle_core::Tensor;
use taper_core::op::{self, Destination, Operation, Scalar, Update, Values};
use taper_kernels::buffer;
use taper_kernels::threads::{self, Chunks};

use super::Vectors;
use super::kernel::{TASK, inner};

/// `raw` over `sigma`, that is uᵀ M v of it as a matrix with `dim` as rows.
pub(super) fn apply(
    raw: &Tensor,
    vectors: Vectors,
    sigma: f64,
    dim: usize,
) -> candle_core::Result<Tensor> {
    let after = raw.dims().iter().skip(dim + 1).product();
    op::apply(Fused { vectors, sigma, after }, &[raw], raw.shape())
}

struct Fused {
    vectors: Vectors,
    sigma: f64,
    /// The elements of the axes after `dim`. The weight is segments of so many, of which each has one element of u.
    after: usize,
}

impl Operation for Fused {
    const NAME: &'static str = "spectral_norm";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let (raw, sigma) = (arguments[0], T::of(self.sigma));
        let mut weight = buffer(raw.len());
        let parts = Chunks::new(&mut weight, TASK);
        threads::each(raw.len().div_ceil(TASK), parts, |task, weight| {
            for (weight, raw) in weight.iter_mut().zip(&raw[task * TASK..]) {
                *weight = *raw / sigma;
            }
        });
        Ok(weight)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Values { result, upstream, .. } = values;
        let [Some((of_raw, update))] = op::places(gradients) else {
            return Ok(());
        };
        let along = inner(result, upstream);
        let (rows, after) = (self.vectors.u.len(), self.after);
        let v: Vec<T> = self.vectors.v.iter().map(|v| T::of(*v)).collect();
        let inverse = T::of(1.0 / self.sigma);
        // Of whole segments.
        let segments = TASK.div_ceil(after);
        let parts = Chunks::new(of_raw, segments * after);
        threads::each(upstream.len().div_ceil(segments * after), parts, |task, of_raw| {
            let upstream = upstream[task * segments * after..].chunks(after);
            for (at, (of_raw, upstream)) in of_raw.chunks_mut(after).zip(upstream).enumerate() {
                let segment = task * segments + at;
                let slope = T::of(along * self.vectors.u[segment % rows]);
                let v = &v[segment / rows * after..][..after];
                for ((to, v), upstream) in of_raw.iter_mut().zip(v).zip(upstream) {
                    let gradient = (*upstream - slope * *v) * inverse;
                    *to = if update == Update::Add { *to + gradient } else { gradient };
                }
            }
        });
        Ok(())
    }
}
