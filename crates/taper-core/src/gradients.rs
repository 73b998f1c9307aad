//! Gradients of parameters that are written in place.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, Shape, Tensor, TensorId, Var};
use taper_kernels::{Update, buffer, optim};

use crate::clip::Clip;
use crate::op::{Elements, Scalar, by_dtype, has_kernels};
use crate::{Error, Result};

/// The gradients of a fixed set of parameters, in buffers that are reused from step to step.
///
/// # Equation
/// [`backward`](Self::backward): g ← ∂ loss / ∂ θ; [`accumulate`](Self::accumulate): g ← g + ∂ loss / ∂ θ.
///
/// # Shapes
/// The loss (); each gradient has the shape and dtype of its parameter.
///
/// # Parameters
/// - `parameters`: the variables, such as those of [`Parameters::trainable`](crate::Parameters::trainable).
///
/// # Numerics
/// The operations of the Taper crates write the gradient of a parameter straight into its buffer; what
/// candle's own operations find for the same parameter is added to it. The values are those of candle's
/// `backward` up to the order of the sums.
///
/// # Deviations
/// 1. From candle's `backward`: only the gradients of `parameters` are kept, and no memory is allocated for
///    them after the first step.
/// 2. From PyTorch: `backward` replaces, so there is no `zero_grad`; `accumulate` adds.
///
/// 3. A custom operation whose `bwd` runs a backward pass of its own does so with `Gradients` of its own:
///    under candle's `backward` the gradients of the registered parameters would go here.
///
/// # Errors
/// The same variable twice; what the backward pass reports, which leaves no gradient, as does a panic in it.
///
/// # References
/// - `torch.Tensor.backward`, <https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::Gradients;
///
/// let x = Var::new(&[1.0, 2.0], &Device::Cpu)?;
/// let mut gradients = Gradients::new([&x])?;
/// gradients.backward(&x.sqr()?.sum_all()?)?;
/// // A second micro-batch.
/// gradients.accumulate(&x.sum_all()?)?;
/// let gradient = gradients.gradient(&x)?.expect("x is in both losses");
/// assert_eq!(gradient.to_vec1::<f64>()?, [3.0, 5.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gradients {
    slots: Slots,
}

#[derive(Debug, Default)]
struct Slots {
    by_id: HashMap<TensorId, usize>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    id: TensorId,
    shape: Shape,
    dtype: DType,
    device: Device,
    /// Empty before the first gradient, and while an operation writes into it.
    data: CpuStorage,
    /// Where there are no kernels: on another device than the CPU, or of another dtype.
    elsewhere: Option<Tensor>,
    /// Whether there is a gradient.
    filled: bool,
    /// Whether an operation has the buffer.
    lent: bool,
}

thread_local! {
    /// The gradients that the backward pass running on this thread fills.
    static ACTIVE: RefCell<Option<Slots>> = const { RefCell::new(None) };
}

impl Gradients {
    /// Room for the gradients of `parameters`; none of them has one yet.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a Var>) -> Result<Self> {
        let mut slots = Slots::default();
        for (at, parameter) in parameters.into_iter().enumerate() {
            if slots.by_id.insert(parameter.id(), at).is_some() {
                let expected = "each variable once";
                let received = format!("number {at} twice");
                return Err(Error::argument("Gradients::new", "parameters", expected, received));
            }
            slots.slots.push(Slot {
                id: parameter.id(),
                shape: parameter.shape().clone(),
                dtype: parameter.dtype(),
                device: parameter.device().clone(),
                data: match parameter.dtype() {
                    DType::F64 => CpuStorage::F64(Vec::new()),
                    _ => CpuStorage::F32(Vec::new()),
                },
                elsewhere: None,
                filled: false,
                lent: false,
            });
        }
        Ok(Self { slots })
    }

    /// The gradients of `loss`, in place of those that were here.
    pub fn backward(&mut self, loss: &Tensor) -> Result<()> {
        self.clear();
        self.accumulate(loss)
    }

    /// Adds the gradients of `loss` to those that are here, as for the next micro-batch.
    pub fn accumulate(&mut self, loss: &Tensor) -> Result<()> {
        let store = {
            let mut active = Active::new(&mut self.slots);
            let store = loss.backward()?;
            active.end();
            store
        };
        // In the order of the slots: a hash map has none.
        let added = self.slots.slots.iter_mut().try_for_each(|slot| match store.get_id(slot.id) {
            Some(gradient) => slot.add(gradient),
            None => Ok(()),
        });
        if added.is_err() {
            self.clear();
        }
        added
    }

    fn clear(&mut self) {
        self.slots.clear();
    }

    fn slot(&self, parameter: &Var) -> Option<&Slot> {
        let slot = &self.slots.slots[*self.slots.by_id.get(&parameter.id())?];
        slot.filled.then_some(slot)
    }

    /// A copy of the gradient of `parameter`; `None` where the losses so far do not depend on it.
    pub fn gradient(&self, parameter: &Var) -> Result<Option<Tensor>> {
        self.slot(parameter).map(Slot::to_tensor).transpose()
    }
}

impl Slots {
    fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.filled = false;
            slot.lent = false;
            slot.elsewhere = None;
        }
    }
}

/// Puts the slots where the operations find them, and back when it is dropped. Dropped before
/// [`end`](Self::end), as on an error or panic, it leaves no gradient.
struct Active<'a> {
    home: &'a mut Slots,
    /// What was active on this thread before: a backward pass within another's operation.
    outer: Option<Slots>,
    ended: bool,
}

impl<'a> Active<'a> {
    fn new(home: &'a mut Slots) -> Self {
        let outer = ACTIVE.replace(Some(mem::take(home)));
        Self { home, outer, ended: false }
    }

    /// Puts the slots back.
    fn end(&mut self) {
        if !mem::replace(&mut self.ended, true)
            && let Some(slots) = ACTIVE.replace(self.outer.take())
        {
            *self.home = slots;
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            self.home.clear();
        }
    }
}

impl Slot {
    /// Whether the gradient is in `data`.
    fn has_kernels(&self) -> bool {
        self.device.is_cpu() && matches!(self.dtype, DType::F32 | DType::F64)
    }

    fn clip(&mut self, clip: Clip) -> Result<()> {
        match (&mut self.elsewhere, &mut self.data) {
            (Some(tensor), _) => *tensor = clip.composed(tensor)?,
            (None, CpuStorage::F32(data)) => clip.kernel(data),
            (None, CpuStorage::F64(data)) => clip.kernel(data),
            (None, _) => {}
        }
        Ok(())
    }

    fn to_tensor(&self) -> Result<Tensor> {
        Ok(match (&self.elsewhere, &self.data) {
            (Some(tensor), _) => tensor.clone(),
            (None, CpuStorage::F64(data)) => Tensor::from_slice(data, &self.shape, &self.device)?,
            (None, data) => Tensor::from_slice(data.as_slice::<f32>()?, &self.shape, &self.device)?,
        })
    }

    /// Adds what candle's own operations found.
    fn add(&mut self, gradient: &Tensor) -> Result<()> {
        // Detached: candle's gradients hold on to the graph that they came from.
        let gradient = gradient.detach();
        match self.dtype {
            DType::F32 if self.has_kernels() => self.add_elements::<f32>(&gradient)?,
            DType::F64 if self.has_kernels() => self.add_elements::<f64>(&gradient)?,
            _ => {
                self.elsewhere = Some(match self.elsewhere.take() {
                    Some(already) if self.filled => (already + gradient)?,
                    _ => gradient,
                });
            }
        }
        self.filled = true;
        Ok(())
    }

    fn add_elements<T: Scalar>(&mut self, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.contiguous()?;
        let gradient = Elements::of(&gradient)?;
        let gradient = gradient.slice::<T>()?;
        let mut data = self.take(gradient.len());
        if self.filled {
            data.iter_mut().zip(gradient).for_each(|(sum, gradient)| *sum += *gradient);
        } else {
            data.copy_from_slice(gradient);
        }
        self.data = T::to_cpu_storage_owned(data);
        Ok(())
    }

    /// The buffer, made where there is none of this length and type.
    fn take<T: Scalar>(&mut self, length: usize) -> Vec<T> {
        match T::take(&mut self.data) {
            Some(data) if data.len() == length => data,
            _ => buffer(length),
        }
    }
}

/// Where an operation writes the gradient of one of its arguments.
///
/// Dropped without [`finish`](Self::finish), as after an error, it gives its buffer back.
pub struct Destination<T: Scalar> {
    data: Vec<T>,
    update: Update,
    shape: Shape,
    device: Device,
    slot: Option<usize>,
}

impl<T: Scalar> Destination<T> {
    /// For `argument`, of element type `T`; `None` where no gradient is wanted.
    pub fn of(argument: &Tensor) -> Option<Self> {
        if !argument.track_op() {
            return None;
        }
        let length = argument.elem_count();
        let (shape, device) = (argument.shape().clone(), argument.device().clone());
        let registered = argument.is_variable().then(|| take_slot(argument.id(), length)).flatten();
        Some(match registered {
            Some((slot, data, update)) => Self { data, update, shape, device, slot: Some(slot) },
            None => {
                Self { data: buffer(length), update: Update::Replace, shape, device, slot: None }
            }
        })
    }

    /// Hands over a gradient for `argument` that exists already, such as one that the forward pass has left: it
    /// is not copied. What candle expects from `bwd` for this argument.
    pub fn hand_over(argument: &Tensor, gradient: Vec<T>) -> candle_core::Result<Option<Tensor>> {
        if !argument.track_op() {
            return Ok(None);
        }
        let registered = argument.is_variable().then(|| take_slot(argument.id(), gradient.len()));
        let Some((slot, mut data, update)) = registered.flatten() else {
            return Ok(Some(Tensor::from_vec(gradient, argument.shape(), argument.device())?));
        };
        match update {
            Update::Replace => data = gradient,
            Update::Add => data.iter_mut().zip(&gradient).for_each(|(sum, more)| *sum += *more),
        }
        give_back(slot, data, true);
        Ok(None)
    }

    /// The place for the gradient, and whether it replaces or adds to what is there.
    pub fn place(&mut self) -> (&mut [T], Update) {
        (&mut self.data, self.update)
    }

    /// Hands the gradient over: what candle expects from `bwd` for this argument.
    pub fn finish(mut self) -> candle_core::Result<Option<Tensor>> {
        let data = mem::take(&mut self.data);
        match self.slot.take() {
            Some(slot) => {
                give_back(slot, data, true);
                Ok(None)
            }
            None => Ok(Some(Tensor::from_vec(data, &self.shape, &self.device)?)),
        }
    }
}

impl<T: Scalar> Drop for Destination<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            give_back(slot, mem::take(&mut self.data), false);
        }
    }
}

/// The buffer of a variable that is registered with the running backward pass. While an operation has it,
/// a second argument that is the same variable gets none, and candle adds up what it finds.
fn take_slot<T: Scalar>(id: TensorId, length: usize) -> Option<(usize, Vec<T>, Update)> {
    ACTIVE.with_borrow_mut(|active| {
        let slots = active.as_mut()?;
        let at = *slots.by_id.get(&id)?;
        let slot = &mut slots.slots[at];
        if slot.lent {
            return None;
        }
        slot.lent = true;
        let update = if slot.filled { Update::Add } else { Update::Replace };
        Some((at, slot.take(length), update))
    })
}

fn give_back<T: Scalar>(at: usize, data: Vec<T>, filled: bool) {
    ACTIVE.with_borrow_mut(|active| {
        if let Some(slot) = active.as_mut().and_then(|slots| slots.slots.get_mut(at)) {
            slot.data = T::to_cpu_storage_owned(data);
            slot.filled |= filled;
            slot.lent = false;
        }
    });
}

/// Gradients by parameter: candle's [`GradStore`] or Taper's [`Gradients`], as the optimizers take them.
pub trait GradientStore {
    /// The gradient of `parameter`; `None` where there is none.
    fn get(&self, parameter: &Var) -> Option<Gradient<'_>>;

    /// Puts a gradient in the place of that of `parameter`.
    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()>;

    /// Clips the gradient of `parameter`, where it has one.
    #[doc(hidden)]
    fn clip(&mut self, parameter: &Var, clip: Clip) -> Result<()> {
        match self.get(parameter).map(|gradient| gradient.to_tensor()) {
            Some(gradient) => self.set(parameter, &clip.composed(&gradient?)?),
            None => Ok(()),
        }
    }
}

/// One gradient, to be read.
pub struct Gradient<'a>(Source<'a>);

enum Source<'a> {
    Tensor(&'a Tensor),
    Slot(&'a Slot),
}

impl Gradient<'_> {
    /// As a tensor without a graph.
    pub fn to_tensor(&self) -> Result<Tensor> {
        match self.0 {
            // Detached: candle's gradients hold on to the graph that they came from.
            Source::Tensor(tensor) => Ok(tensor.detach()),
            Source::Slot(slot) => slot.to_tensor(),
        }
    }

    /// The number of elements.
    pub(crate) fn elem_count(&self) -> usize {
        match self.0 {
            Source::Tensor(tensor) => tensor.elem_count(),
            Source::Slot(slot) => slot.shape.elem_count(),
        }
    }

    /// Whether it is of the form of `parameter`.
    pub(crate) fn fits(&self, parameter: &Var) -> bool {
        match self.0 {
            Source::Tensor(tensor) => {
                fits(tensor, parameter.shape(), parameter.dtype(), parameter.device())
            }
            // It was made for this variable.
            Source::Slot(_) => true,
        }
    }

    /// Dtype and shape, for an error.
    pub(crate) fn form(&self) -> String {
        match self.0 {
            Source::Tensor(tensor) => form(tensor.dtype(), tensor.shape()),
            Source::Slot(slot) => form(slot.dtype, &slot.shape),
        }
    }

    /// Calls `f` with the elements, which are `T` on the CPU. If they lie in the memory of `beside`, they
    /// are copied first, so that `f` can change that.
    pub(crate) fn read<T: Scalar, R>(
        &self,
        beside: Option<&Var>,
        f: impl FnOnce(&[T]) -> R,
    ) -> candle_core::Result<R> {
        match self.0 {
            Source::Tensor(tensor) => {
                let mut tensor = tensor.contiguous()?;
                if let Some(var) = beside
                    && overlap::<T>(&tensor, var)?
                {
                    tensor = tensor.copy()?;
                }
                Ok(f(Elements::of(&tensor)?.slice::<T>()?))
            }
            Source::Slot(slot) => Ok(f(slot.data.as_slice::<T>()?)),
        }
    }

    /// Σ g², in f64.
    pub(crate) fn sum_of_squares(&self) -> candle_core::Result<f64> {
        let dtype = match self.0 {
            Source::Tensor(tensor) if has_kernels(tensor) => tensor.dtype(),
            Source::Slot(slot) if slot.has_kernels() => slot.dtype,
            _ => return self.to_tensor()?.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar(),
        };
        by_dtype!("clip_grad_norm", dtype, T => self.read::<T, _>(None, optim::sum_of_squares))
    }
}

/// Whether two contiguous tensors have memory in common.
fn overlap<T: Scalar>(a: &Tensor, b: &Tensor) -> candle_core::Result<bool> {
    let range = |tensor: &Tensor| -> candle_core::Result<_> {
        Ok(Elements::of(tensor)?.slice::<T>()?.as_ptr_range())
    };
    let (a, b) = (range(a)?, range(b)?);
    Ok(a.start < b.end && b.start < a.end)
}

fn fits(tensor: &Tensor, shape: &Shape, dtype: DType, device: &Device) -> bool {
    tensor.shape() == shape && tensor.dtype() == dtype && tensor.device().same_device(device)
}

fn form(dtype: DType, shape: &Shape) -> String {
    format!("{dtype:?} of shape {:?}", shape.dims())
}

impl GradientStore for GradStore {
    fn get(&self, parameter: &Var) -> Option<Gradient<'_>> {
        GradStore::get(self, parameter).map(|tensor| Gradient(Source::Tensor(tensor)))
    }

    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()> {
        self.insert(parameter, gradient.clone());
        Ok(())
    }
}

impl GradientStore for Gradients {
    fn get(&self, parameter: &Var) -> Option<Gradient<'_>> {
        self.slot(parameter).map(|slot| Gradient(Source::Slot(slot)))
    }

    fn set(&mut self, parameter: &Var, gradient: &Tensor) -> Result<()> {
        let Some(at) = self.slots.by_id.get(&parameter.id()) else {
            let expected = "one of the variables that these gradients were made for";
            let received = format!("another, of shape {:?}", parameter.dims());
            return Err(Error::argument("Gradients::set", "parameter", expected, received));
        };
        let slot = &mut self.slots.slots[*at];
        if !fits(gradient, &slot.shape, slot.dtype, &slot.device) {
            let expected = format!("{} on its parameter's device", form(slot.dtype, &slot.shape));
            let received = form(gradient.dtype(), gradient.shape());
            return Err(Error::argument("Gradients::set", "gradient", expected, received));
        }
        slot.filled = false;
        slot.add(gradient)
    }

    fn clip(&mut self, parameter: &Var, clip: Clip) -> Result<()> {
        let slot = self.slots.by_id.get(&parameter.id()).map(|at| &mut self.slots.slots[*at]);
        match slot {
            Some(slot) if slot.filled => slot.clip(clip),
            _ => Ok(()),
        }
    }
}
