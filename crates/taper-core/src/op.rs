//! From a kernel to a differentiable candle operation.
//!
//! An operation of one to three tensors implements candle's `CustomOp1` to `CustomOp3`. Its forward pass reads
//! its arguments with [`elements`], its backward pass with [`Elements`], and each gradient goes to a
//! [`Destination`]: into a fresh tensor under candle's own `backward`, in place into a reused buffer for a
//! parameter under [`Gradients`](crate::Gradients). The operation is the same code for both.

use std::ops::{Deref, Range};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, DType, Layout, Result, Storage, Tensor, WithDType, bail};
use taper_kernels::{Element, Update};

pub use crate::gradients::Destination;

/// An element type for which there are kernels: f32 or f64.
pub trait Scalar: Element + WithDType {
    /// The buffer of a [`CpuStorage`], which is left empty; `None` where it holds another dtype.
    fn take(storage: &mut CpuStorage) -> Option<Vec<Self>>;

    /// The elements of a [`CpuStorage`], to be changed; `None` where it holds another dtype.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Scalar for f32 {
    fn take(storage: &mut CpuStorage) -> Option<Vec<Self>> {
        match storage {
            CpuStorage::F32(data) => Some(std::mem::take(data)),
            _ => None,
        }
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
}

impl Scalar for f64 {
    fn take(storage: &mut CpuStorage) -> Option<Vec<Self>> {
        match storage {
            CpuStorage::F64(data) => Some(std::mem::take(data)),
            _ => None,
        }
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]> {
        match storage {
            CpuStorage::F64(data) => Some(data),
            _ => None,
        }
    }
}

/// Whether the kernels work on tensors like this one: f32 or f64 on the CPU.
///
/// Half precision is [widened](widen) at the edge; other devices run the composed twin.
pub fn has_kernels(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// `tensor` in a dtype for which there are kernels: half precision becomes f32, and the gradient goes back.
pub fn widen(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.to_dtype(DType::F32),
        _ => Ok(tensor.clone()),
    }
}

/// Evaluates an expression for the element type of a dtype: `by_dtype!(x.dtype(), T => forward::<T>(x))`.
/// Another dtype than f32 and f64 is an error that names the operation.
#[macro_export]
macro_rules! by_dtype {
    ($name:expr, $dtype:expr, $element:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $element = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $element = f64;
                $body
            }
            other => Err($crate::op::no_kernel($name, other)),
        }
    };
}
pub use crate::by_dtype;

/// That an operation has no kernel for this dtype.
pub fn no_kernel(operation: &str, dtype: DType) -> candle_core::Error {
    candle_core::Error::Msg(format!(
        "{operation}: there are kernels for F32 and F64, not for {dtype:?}"
    ))
}

/// The dtype of an argument in the forward pass.
pub fn dtype(storage: &CpuStorage) -> DType {
    storage.dtype()
}

/// The elements of a contiguous argument in the forward pass.
pub fn elements<'a, T: Scalar>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    Ok(&storage.as_slice::<T>()?[contiguous(layout)?])
}

/// The elements of a contiguous variable that an operation changes in place.
pub fn elements_mut<'a, T: Scalar>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [T]> {
    let (range, found) = (contiguous(layout)?, storage.dtype());
    match T::slice_mut(storage) {
        Some(data) => Ok(&mut data[range]),
        None => bail!("expected elements of {:?}, found {found:?}", T::DTYPE),
    }
}

/// A result of the forward pass.
pub fn storage<T: Scalar>(data: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(data)
}

/// The elements of a contiguous tensor on the CPU, for as long as this lives.
pub struct Elements<'a> {
    /// A read lock, whose type candle does not export.
    storage: Box<dyn Deref<Target = Storage> + 'a>,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    /// Of `tensor`; make it contiguous first, which costs nothing where it is so already.
    pub fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let range = contiguous(layout)?;
        Ok(Self { storage: Box::new(storage), range })
    }

    /// As a slice.
    pub fn slice<T: WithDType>(&self) -> Result<&[T]> {
        match &**self.storage {
            Storage::Cpu(storage) => Ok(&storage.as_slice::<T>()?[self.range.clone()]),
            _ => bail!("a kernel works on tensors of the CPU"),
        }
    }
}

fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("a kernel works on contiguous tensors, not on strides {:?}", layout.stride()),
    }
}

/// Splits a destination for a kernel: the place and what becomes of what is there.
pub fn place<T: Scalar>(destination: &mut Option<Destination<T>>) -> Option<(&mut [T], Update)> {
    destination.as_mut().map(Destination::place)
}

/// Finishes a destination; what candle expects from `bwd` for its argument.
pub fn finish<T: Scalar>(destination: Option<Destination<T>>) -> Result<Option<Tensor>> {
    destination.map_or(Ok(None), Destination::finish)
}
