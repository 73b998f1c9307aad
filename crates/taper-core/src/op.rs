//! From a kernel to a differentiable candle operation.
//!
//! An [`Operation`] is written once, over slices; [`apply`] runs it on tensors. Each gradient goes to a
//! [`Destination`]: in place into a reused buffer for a parameter under [`Gradients`](crate::Gradients), into a
//! fresh tensor otherwise. Between two operations it does not go over candle's edges, under candle's own
//! `backward` either.
//!
//! An operation of two arguments, a x + x² with one a for all; `testing::gradcheck`, with the
//! feature `testing`, compares its gradients with finite differences:
//!
//! ```
//! # fn main() -> taper_core::Result<()> {
//! use candle_core::{Device, Tensor, Var};
//! use taper_core::op::{self, Destination, Operation, Scalar, Update, Values};
//!
//! struct Parabola;
//!
//! impl Operation for Parabola {
//!     const NAME: &'static str = "parabola";
//!
//!     fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
//!         let (x, a) = (arguments[0], arguments[1][0]);
//!         Ok(x.iter().map(|x| (*x + a) * *x).collect())
//!     }
//!
//!     fn backward<T: Scalar>(
//!         &self,
//!         values: Values<'_, T>,
//!         gradients: &mut [Destination<T>],
//!     ) -> candle_core::Result<()> {
//!         let (x, a, upstream) = (values.arguments[0], values.arguments[1][0], values.upstream);
//!         let [of_x, of_a] = op::places(gradients);
//!         if let Some((of_x, update)) = of_x {
//!             for ((of_x, x), g) in of_x.iter_mut().zip(x).zip(upstream) {
//!                 let slope = (*x + *x + a) * *g;
//!                 *of_x = if update == Update::Add { *of_x + slope } else { slope };
//!             }
//!         }
//!         if let Some((of_a, update)) = of_a {
//!             let sum: T = x.iter().zip(upstream).map(|(x, g)| *x * *g).sum();
//!             of_a[0] = if update == Update::Add { of_a[0] + sum } else { sum };
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let (x, a) = (Var::new(&[1.0, 2.0], &Device::Cpu)?, Var::new(10.0, &Device::Cpu)?);
//! let y = op::apply(Parabola, &[&x, &a], x.shape())?;
//! assert_eq!(y.to_vec1::<f64>()?, [11.0, 24.0]);
//! let gradients = y.sum_all()?.backward()?;
//! assert_eq!(gradients.get(&x).map(Tensor::to_vec1::<f64>).transpose()?, Some(vec![12.0, 14.0]));
//! # Ok(())
//! # }
//! ```

mod graph;
mod record;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
pub use taper_kernels::{Element, Update};

pub use self::record::{Field, Step, Window, Work, record};
pub use crate::gradients::Destination;

/// A differentiable operation of one or more tensors of one dtype on the CPU. It sees elements in row-major order;
/// the sizes that it needs are its own fields. Functions such as exp are at hand in f64, by `Element::to_f64(x)` and
/// `T::of`, where no kernel has them in T.
pub trait Operation: Send + Sync + 'static {
    /// The name in messages.
    const NAME: &'static str;

    /// The result's elements. It runs once.
    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> Result<Vec<T>>;

    /// Writes the gradients of the arguments, in their order, where one is wanted. A gradient is written whole, or
    /// added to what is there, as [`Update`] says: a parameter may have gradients from elsewhere. It may run any
    /// number of times.
    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> Result<()>;

    /// What the forward pass costs on arguments of these shapes, for [`record()`]; nothing, unless it says so.
    fn work(&self, _arguments: &[&Shape]) -> Work {
        Work::default()
    }
}

/// What the way back starts from.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a, T> {
    /// The arguments.
    pub arguments: &'a [&'a [T]],
    /// What the forward pass returned.
    pub result: &'a [T],
    /// The gradient of the result.
    pub upstream: &'a [T],
}

/// The result of an operation, of this shape. The arguments are f32 or f64 on the CPU, all of one dtype.
pub fn apply<O: Operation>(
    operation: O,
    arguments: &[&Tensor],
    shape: impl Into<Shape>,
) -> Result<Tensor> {
    let (shape, name) = (shape.into(), O::NAME);
    let Some(first) = arguments.first() else {
        bail!("{name}: an operation has at least one argument");
    };
    if let Some(other) = arguments.iter().find(|it| it.dtype() != first.dtype()) {
        bail!(
            "{name}: the arguments are of one dtype, not {:?} and {:?}",
            first.dtype(),
            other.dtype()
        );
    }
    let work = record::wanted(arguments, |shapes| operation.work(shapes));
    let given = arguments;
    let arguments = given.iter().map(|it| it.contiguous()).collect::<Result<Vec<_>>>()?;
    let result = by_dtype!(O::NAME, first.dtype(), T => {
        let result = {
            let elements = arguments.iter().map(Elements::of).collect::<Result<Vec<_>>>()?;
            let slices = elements.iter().map(Elements::slice::<T>).collect::<Result<Vec<_>>>()?;
            operation.forward(&slices)?
        };
        if result.len() != shape.elem_count() {
            bail!("{name}: a result of {} elements does not fit the shape {shape:?}", result.len());
        }
        graph::insert(operation, &arguments, result, shape)
    })?;
    if let Some(work) = work {
        record::add(name, given, &result, work);
    }
    Ok(result)
}

/// The places of the gradients for a kernel, as many as it has arguments; there is none for one that is not
/// wanted or not there.
pub fn places<const N: usize, T: Scalar>(
    gradients: &mut [Destination<T>],
) -> [Option<(&mut [T], Update)>; N] {
    let mut gradients = gradients.iter_mut();
    std::array::from_fn(|_| gradients.next().and_then(Destination::place))
}

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

/// The storage that owns these elements.
pub fn storage<T: Scalar>(data: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(data)
}

/// The elements of a contiguous variable that an operation changes in place.
pub fn elements_mut<'a, T: Scalar>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [T]> {
    match T::slice_mut(storage) {
        Some(data) => Ok(&mut data[contiguous(layout)?]),
        None => bail!("the variable's elements are not {:?}", T::DTYPE),
    }
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
