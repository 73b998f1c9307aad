//! Power iterations towards the first singular vectors of a matrix.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::Result;

/// u and v as they are in one call.
pub(super) struct Vectors {
    pub(super) u: Vec<f64>,
    pub(super) v: Vec<f64>,
}

impl Vectors {
    /// Copies: the variables move with the next step.
    pub(super) fn of(u: &Var, v: &Var) -> Result<Self> {
        let values = |var: &Var| values(&var.as_detached_tensor());
        Ok(Self { u: values(u)?, v: values(v)? })
    }

    /// Into the variables.
    pub(super) fn store(&self, u: &Var, v: &Var) -> Result<()> {
        for (var, values) in [(u, &self.u), (v, &self.v)] {
            let values = Tensor::new(&values[..], &Device::Cpu)?;
            var.set(&values.to_dtype(var.dtype())?.to_device(var.device())?)?;
        }
        Ok(())
    }

    /// Both to the length 1.
    pub(super) fn normalize(&mut self, eps: f64) {
        for vector in [&mut self.u, &mut self.v] {
            if let Some(unit) = unit(vector, eps) {
                *vector = unit;
            }
        }
    }

    /// `count` iterations with `matrix` (elements of u, elements of v); one without a direction leaves both.
    pub(super) fn iterate(&mut self, matrix: &Tensor, count: usize, eps: f64) -> Result<()> {
        let transposed = matrix.t()?;
        for _ in 0..count {
            let Some(u) = unit(&product(matrix, &self.v)?, eps) else {
                return Ok(());
            };
            let Some(v) = unit(&product(&transposed, &u)?, eps) else {
                return Ok(());
            };
            (self.u, self.v) = (u, v);
        }
        Ok(())
    }

    /// uᵀ M v.
    pub(super) fn sigma(&self, matrix: &Tensor) -> Result<f64> {
        let along = product(matrix, &self.v)?;
        Ok(self.u.iter().zip(along).map(|(u, along)| u * along).sum())
    }
}

/// The product of a matrix and a vector, in the dtype of the matrix.
fn product(matrix: &Tensor, vector: &[f64]) -> Result<Vec<f64>> {
    let vector = Tensor::from_slice(vector, (vector.len(), 1), &Device::Cpu)?;
    let vector = vector.to_dtype(matrix.dtype())?.to_device(matrix.device())?;
    values(&matrix.matmul(&vector)?)
}

/// The elements on the CPU.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.flatten_all()?.to_device(&Device::Cpu)?;
    Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
}

/// The vector over its length, which is at least `eps`; `None` where it has no direction.
fn unit(vector: &[f64], eps: f64) -> Option<Vec<f64>> {
    let length = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
    if length == 0.0 || !length.is_finite() {
        return None;
    }
    Some(vector.iter().map(|value| value / length.max(eps)).collect())
}
