//! What an optimizer remembers of a parameter.

use candle_core::{CpuStorage, DType, Result, Tensor, Var, bail};

use crate::op::{self, Elements, Scalar, by_dtype};

/// One value for each element of a parameter.
#[derive(Debug)]
pub(super) enum Memory {
    /// Changed in place by the kernels.
    Host(CpuStorage),
    /// Where there are no kernels.
    Tensor(Tensor),
}

impl Memory {
    /// Zeros for `var`.
    pub(super) fn zeros(var: &Var) -> Result<Self> {
        Ok(match (op::has_kernels(var), var.dtype()) {
            (true, DType::F64) => Self::Host(CpuStorage::F64(vec![0.0; var.elem_count()])),
            (true, _) => Self::Host(CpuStorage::F32(vec![0.0; var.elem_count()])),
            (false, _) => Self::Tensor(var.zeros_like()?.detach()),
        })
    }

    /// The values of `tensor`, in memory of their own.
    pub(super) fn of(tensor: &Tensor) -> Result<Self> {
        if !op::has_kernels(tensor) {
            return Ok(Self::Tensor(tensor.detach()));
        }
        let tensor = tensor.contiguous()?;
        let values = Elements::of(&tensor)?;
        by_dtype!("optimizer", tensor.dtype(), T => {
            Ok(Self::Host(op::storage(values.slice::<T>()?.to_vec())))
        })
    }

    /// The values as a tensor of the form of `var`.
    pub(super) fn to_tensor(&self, var: &Var) -> Result<Tensor> {
        match self {
            Self::Host(CpuStorage::F64(data)) => {
                Tensor::from_slice(data, var.shape(), var.device())
            }
            Self::Host(data) => {
                Tensor::from_slice(data.as_slice::<f32>()?, var.shape(), var.device())
            }
            Self::Tensor(tensor) => Ok(tensor.clone()),
        }
    }

    /// The values, to be changed by a kernel.
    pub(super) fn slice_mut<T: Scalar>(&mut self) -> Result<&mut [T]> {
        match self {
            Self::Host(data) => match T::slice_mut(data) {
                Some(data) => Ok(data),
                None => bail!("what is remembered of the parameter is not {:?}", T::DTYPE),
            },
            Self::Tensor(_) => bail!("what is remembered of the parameter is not in host memory"),
        }
    }
}
