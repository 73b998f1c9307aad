//! The buffers of the parameters' gradients, and how a running backward pass finds them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::mem;

use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, DType, Device, Shape, Tensor, TensorId, Var};
use taper_kernels::{Update, buffer};

use crate::Result;
use crate::clip::Clip;
use crate::op::{Elements, Scalar};

#[derive(Debug, Default)]
pub(super) struct Slots {
    by_id: HashMap<TensorId, usize>,
    slots: Vec<Slot>,
}

#[derive(Debug)]
pub(super) struct Slot {
    id: TensorId,
    pub(super) shape: Shape,
    pub(super) dtype: DType,
    pub(super) device: Device,
    /// Empty before the first gradient, and while an operation writes into it.
    pub(super) data: CpuStorage,
    /// Where there are no kernels: on another device than the CPU, or of another dtype.
    elsewhere: Option<Tensor>,
    /// Whether there is a gradient.
    pub(super) filled: bool,
    /// Whether an operation has the buffer.
    lent: bool,
}

thread_local! {
    /// The gradients that the backward pass running on this thread fills.
    static ACTIVE: RefCell<Option<Slots>> = const { RefCell::new(None) };
}

impl Slots {
    /// Room for the gradient of `parameter`; false where there is some already.
    pub(super) fn add(&mut self, parameter: &Var) -> bool {
        self.slots.push(Slot {
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
        self.by_id.insert(parameter.id(), self.slots.len() - 1).is_none()
    }

    /// Adds what candle's own operations found.
    pub(super) fn add_from(&mut self, store: &GradStore) -> Result<()> {
        // In the order of the slots: a hash map has none.
        self.slots.iter_mut().try_for_each(|slot| match store.get_id(slot.id) {
            Some(gradient) => slot.add(gradient),
            None => Ok(()),
        })
    }

    /// The slot of `parameter`.
    pub(super) fn slot(&self, parameter: &Var) -> Option<&Slot> {
        self.slots.get(*self.by_id.get(&parameter.id())?)
    }

    /// The slot of `parameter`, to be changed.
    pub(super) fn slot_mut(&mut self, parameter: &Var) -> Option<&mut Slot> {
        self.slots.get_mut(*self.by_id.get(&parameter.id())?)
    }

    pub(super) fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.filled = false;
            slot.lent = false;
            slot.elsewhere = None;
        }
    }
}

/// Puts the slots where the operations find them, and back when it is dropped. Dropped before
/// [`end`](Self::end), as on an error or panic, it leaves no gradient.
pub(super) struct Active<'a> {
    home: &'a mut Slots,
    /// What was active on this thread before: a backward pass within another's operation.
    outer: Option<Slots>,
    ended: bool,
}

impl<'a> Active<'a> {
    pub(super) fn new(home: &'a mut Slots) -> Self {
        let outer = ACTIVE.replace(Some(mem::take(home)));
        Self { home, outer, ended: false }
    }

    /// Puts the slots back.
    pub(super) fn end(&mut self) {
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
    pub(super) fn has_kernels(&self) -> bool {
        self.device.is_cpu() && matches!(self.dtype, DType::F32 | DType::F64)
    }

    pub(super) fn clip(&mut self, clip: Clip) -> Result<()> {
        match (&mut self.elsewhere, &mut self.data) {
            (Some(tensor), _) => *tensor = clip.composed(tensor)?,
            (None, CpuStorage::F32(data)) => clip.kernel(data),
            (None, CpuStorage::F64(data)) => clip.kernel(data),
            (None, _) => {}
        }
        Ok(())
    }

    pub(super) fn to_tensor(&self) -> Result<Tensor> {
        Ok(match (&self.elsewhere, &self.data) {
            (Some(tensor), _) => tensor.clone(),
            (None, CpuStorage::F64(data)) => Tensor::from_slice(data, &self.shape, &self.device)?,
            (None, data) => Tensor::from_slice(data.as_slice::<f32>()?, &self.shape, &self.device)?,
        })
    }

    /// Adds what candle's own operations found.
    pub(super) fn add(&mut self, gradient: &Tensor) -> Result<()> {
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

/// The buffer of a variable that is registered with the running backward pass. While an operation has it,
/// a second argument that is the same variable gets none, and candle adds up what it finds.
pub(super) fn take_slot<T: Scalar>(id: TensorId, length: usize) -> Option<(usize, Vec<T>, Update)> {
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

pub(super) fn give_back<T: Scalar>(at: usize, data: Vec<T>, filled: bool) {
    ACTIVE.with_borrow_mut(|active| {
        if let Some(slot) = active.as_mut().and_then(|slots| slots.slots.get_mut(at)) {
            slot.data = T::to_cpu_storage_owned(data);
            slot.filled |= filled;
            slot.lent = false;
        }
    });
}
