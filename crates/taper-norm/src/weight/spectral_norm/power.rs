//! Power iterations towards the first singular vectors of a matrix.

use candle_core::{DType, Device, Tensor, Var};
use taper_core::Result;
use taper_core::op::{self, Elements, by_dtype};

use super::kernel;

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

    /// `count` iterations with `matrix` (elements of u, elements of v), of which one without a direction leaves both;
    /// uᵀ M v after them.
    pub(super) fn iterate(&mut self, matrix: &Tensor, count: usize, eps: f64) -> Result<f64> {
        let mut sigma = None;
        for _ in 0..count {
            let Some(u) = unit(&product(matrix, &self.v)?, eps) else {
                break;
            };
            let along = transposed_product(matrix, &u)?;
            let Some(v) = unit(&along, eps) else {
                break;
            };
            sigma = Some(inner(&v, &along));
            (self.u, self.v) = (u, v);
        }
        // The last product is at hand.
        sigma.map_or_else(|| self.sigma(matrix), Ok)
    }

    /// uᵀ M v.
    pub(super) fn sigma(&self, matrix: &Tensor) -> Result<f64> {
        Ok(inner(&self.u, &product(matrix, &self.v)?))
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// M x, in the dtype of the matrix.
fn product(matrix: &Tensor, x: &[f64]) -> Result<Vec<f64>> {
    if !op::has_kernels(matrix) {
        return values(&matrix.matmul(&column(x, matrix)?)?);
    }
    Ok(by_dtype!("spectral_norm", matrix.dtype(), T => {
        let elements = Elements::of(matrix)?;
        Ok(kernel::product(elements.slice::<T>()?, x))
    })?)
}

/// Mᵀ x, in the dtype of the matrix.
fn transposed_product(matrix: &Tensor, x: &[f64]) -> Result<Vec<f64>> {
    if !op::has_kernels(matrix) {
        return values(&matrix.t()?.matmul(&column(x, matrix)?)?);
    }
    Ok(by_dtype!("spectral_norm", matrix.dtype(), T => {
        let elements = Elements::of(matrix)?;
        Ok(kernel::transposed_product(elements.slice::<T>()?, x))
    })?)
}

fn column(x: &[f64], like: &Tensor) -> Result<Tensor> {
    let x = Tensor::from_slice(x, (x.len(), 1), &Device::Cpu)?;
    Ok(x.to_dtype(like.dtype())?.to_device(like.device())?)
}

/// The elements on the CPU.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.flatten_all()?.to_device(&Device::Cpu)?;
    Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
}

/// The vector over its length, which is at least `eps`; `None` where it has no direction.
fn unit(vector: &[f64], eps: f64) -> Option<Vec<f64>> {
    let length = inner(vector, vector).sqrt();
    if length == 0.0 || !length.is_finite() {
        return None;
    }
    Some(vector.iter().map(|value| value / length.max(eps)).collect())
}
