//! Where the gradient of one argument goes.

use std::mem;

use candle_core::{Device, Result, Shape, Tensor, bail};
use taper_kernels::{Update, buffer};

use super::slots::{give_back, take_slot};
use crate::op::Scalar;

/// Where an [operation](crate::op::Operation) writes the gradient of one of its arguments: the reused buffer of a
/// parameter, or fresh memory. An operation that leaves a wanted gradient unwritten is an error.
///
/// Dropped in a backward pass that fails, it gives its buffer back.
#[derive(Debug)]
pub struct Destination<T: Scalar> {
    shape: Shape,
    content: Content<T>,
}

#[derive(Debug)]
enum Content<T: Scalar> {
    Unwanted,
    /// Wanted, in fresh memory.
    Empty,
    Fresh(Vec<T>),
    /// The gradient is that of the result.
    Upstream,
    /// One of so many elements was handed over, which is wrong.
    Wrong(usize),
    Slot {
        at: usize,
        data: Vec<T>,
        update: Update,
        written: bool,
    },
}

impl<T: Scalar> Destination<T> {
    /// For an argument of element type `T` on the CPU whose gradient goes to candle, or into its buffer where it
    /// is a parameter of the running backward pass.
    pub(crate) fn of(argument: &Tensor) -> Self {
        let registered = argument
            .is_variable()
            .then(|| take_slot(argument.id(), argument.elem_count()))
            .flatten();
        let content = match registered {
            Some((at, data, update)) => Content::Slot { at, data, update, written: false },
            None => Content::Empty,
        };
        Self { shape: argument.shape().clone(), content }
    }

    /// In fresh memory.
    pub(crate) fn fresh(argument: &Tensor) -> Self {
        Self { shape: argument.shape().clone(), content: Content::Empty }
    }

    /// None is wanted.
    pub(crate) fn unwanted(argument: &Tensor) -> Self {
        Self { shape: argument.shape().clone(), content: Content::Unwanted }
    }

    /// The place for the gradient, and whether it replaces or adds to what is there; `None` where no gradient is
    /// wanted. All of it is to be written.
    pub fn place(&mut self) -> Option<(&mut [T], Update)> {
        if matches!(self.content, Content::Empty) {
            self.content = Content::Fresh(buffer(self.shape.elem_count()));
        }
        match &mut self.content {
            Content::Unwanted | Content::Empty | Content::Upstream | Content::Wrong(_) => None,
            Content::Fresh(data) => Some((data, Update::Replace)),
            Content::Slot { data, update, written, .. } => {
                *written = true;
                Some((data, *update))
            }
        }
    }

    /// Hands over a gradient that exists already, such as one that the forward pass has left: it is not copied.
    /// It has as many elements as the argument.
    pub fn hand_over(&mut self, gradient: Vec<T>) {
        if self.refuses(gradient.len()) {
            return;
        }
        match &mut self.content {
            Content::Unwanted => {}
            Content::Slot { data, update, written, .. } => {
                match update {
                    Update::Replace => *data = gradient,
                    Update::Add => add(data, &gradient),
                }
                *written = true;
            }
            content => *content = Content::Fresh(gradient),
        }
    }

    /// Says that the gradient is `upstream`, that of the result, as for a term of a sum: it is not copied where
    /// that can be avoided. The argument has the shape of the result.
    pub fn hand_upstream(&mut self, upstream: &[T]) {
        if self.refuses(upstream.len()) {
            return;
        }
        match &mut self.content {
            Content::Unwanted => {}
            Content::Slot { data, update, written, .. } => {
                match update {
                    Update::Replace => data.copy_from_slice(upstream),
                    Update::Add => add(data, upstream),
                }
                *written = true;
            }
            content => *content = Content::Upstream,
        }
    }

    /// Whether a gradient of so many elements is wrong; [`finish`](Self::finish) says so.
    fn refuses(&mut self, length: usize) -> bool {
        let wrong = length != self.shape.elem_count();
        if wrong && !matches!(self.content, Content::Unwanted) {
            self.give_up();
            self.content = Content::Wrong(length);
        }
        wrong
    }

    /// Gives a parameter's buffer back without a gradient.
    fn give_up(&mut self) {
        if let Content::Slot { at, data, .. } = &mut self.content {
            give_back(*at, mem::take(data), false);
        }
    }

    /// What candle expects from `bwd` for the argument.
    pub(crate) fn finish(mut self, upstream: &Tensor) -> Result<Option<Tensor>> {
        match mem::replace(&mut self.content, Content::Unwanted) {
            Content::Unwanted => Ok(None),
            Content::Fresh(data) => Tensor::from_vec(data, &self.shape, &Device::Cpu).map(Some),
            Content::Upstream => upstream.reshape(&self.shape).map(Some),
            Content::Slot { at, data, written: true, .. } => {
                give_back(at, data, true);
                Ok(None)
            }
            Content::Wrong(length) => {
                bail!(
                    "its gradient has {length} elements, which do not fit its shape {:?}",
                    self.shape
                )
            }
            content => {
                self.content = content;
                bail!("its gradient was left unwritten")
            }
        }
    }
}

fn add<T: Scalar>(sums: &mut [T], addends: &[T]) {
    sums.iter_mut().zip(addends).for_each(|(sum, addend)| *sum += *addend);
}

impl<T: Scalar> Drop for Destination<T> {
    fn drop(&mut self) {
        self.give_up();
    }
}
