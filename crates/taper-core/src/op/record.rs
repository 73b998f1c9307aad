//! What ran: the operations of a closure, with their tensors and what they cost.

use std::cell::RefCell;

use candle_core::{Shape, Tensor};
use taper_kernels::Activation;

thread_local! {
    static RECORD: RefCell<Record> = const { RefCell::new(Record { recorders: 0, steps: Vec::new() }) };
}

/// What the recorders of a thread have seen since the outermost began.
struct Record {
    recorders: usize,
    steps: Vec<Step>,
}

/// An operation that ran.
#[derive(Debug, Clone)]
pub struct Step {
    /// The operation's [name](super::Operation::NAME).
    pub name: &'static str,
    /// The arguments, parameters too, as they were given: a view keeps its place in memory.
    pub arguments: Vec<Tensor>,
    /// The result.
    pub result: Tensor,
    /// What it cost.
    pub work: Work,
}

/// What an operation costs on the way forward.
///
/// | | counts |
/// |---|---|
/// | products | of a weight and an activation: convolutions, linear layers; with zeros around an image, too |
/// | arithmetic | 2 a product; 1 an element for a bias, a residual, a factor, an activation of any kind |
/// | pooling | the places of the window for each element of the result; adaptive: 1 for each element of x |
/// | normalization | by statistics of a batch 2 an element, of a sample 6, by a root mean square 4, by neighbours 2 · size + 3 |
/// | resampling | nearest nothing, bilinear 7 an element of the result |
/// | nothing | the identity, copies, normalizations of weights, and losses |
///
/// A normalization counts in training as in evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Products of a weight and an activation (multiply-accumulates).
    pub macs: u64,
    /// All arithmetic: additions, products, an activation's value.
    pub flops: u64,
    /// Activations other than the identity: 1 for each that is applied to a tensor.
    pub nonlinearities: u64,
    /// What one place of the result sees.
    pub field: Field,
}

/// What of the rows and columns of its first argument one place of an operation's result sees.
///
/// Statistics do not count: a normalization sees the place itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field {
    /// The same place.
    #[default]
    Point,
    /// A window of rows and one of columns.
    Window([Window; 2]),
    /// All of it; or places that are no such windows, as in an image of another size by resampling or by a transposed
    /// convolution with a stride.
    Whole,
}

/// The places that an output o of one axis sees: o · stride + t · dilation − padding, 0 ≤ t < kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How many places.
    pub kernel: usize,
    /// How far the next output's window is.
    pub stride: usize,
    /// How far the places are apart.
    pub dilation: usize,
    /// How far before the axis the first window begins.
    pub padding: usize,
}

impl Work {
    /// So much arithmetic for each of these elements.
    pub fn of_elements(elements: usize, flops: u64) -> Self {
        Self { flops: elements as u64 * flops, ..Self::default() }
    }

    /// Together with an activation of these elements.
    pub fn activated(self, elements: usize, activation: Activation) -> Self {
        match activation {
            Activation::Identity => self,
            _ => Self {
                flops: self.flops + elements as u64,
                nonlinearities: self.nonlinearities + 1,
                ..self
            },
        }
    }
}

/// Runs `f`; returns its result and the operations that ran in it on this thread, in their order.
///
/// Recorders nest: the outer one has the steps of the inner one, too. The steps keep their tensors, which a step of
/// training would let go. What is composed of candle's own operations is not there: all on a device without kernels,
/// masked normalizations, losses without a kernel, and what a backward pass does. Of half precision the tensors are
/// those in f32 to which it was widened.
///
/// A result and an argument are the same where their elements stand at the same place in memory.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Activation, Linear, op};
///
/// let layer = Linear::new(Tensor::ones((4, 3), DType::F32, &Device::Cpu)?, None)?;
/// let x = Tensor::ones((2, 3), DType::F32, &Device::Cpu)?;
/// let (y, steps) = op::record(|| Activation::Gelu.forward(&layer.forward(&x)?));
/// assert_eq!(y?.dims(), [2, 4]);
/// let [linear, gelu] = &steps[..] else { panic!("two operations") };
/// assert_eq!((linear.name, linear.work.macs, linear.work.flops), ("linear", 24, 48));
/// assert_eq!((gelu.name, gelu.work.flops, gelu.work.nonlinearities), ("activation", 8, 1));
/// # Ok(())
/// # }
/// ```
pub fn record<R>(f: impl FnOnce() -> R) -> (R, Vec<Step>) {
    let recorder = Recorder::start();
    let result = f();
    let steps = RECORD.with_borrow(|record| record.steps[recorder.first..].to_vec());
    (result, steps)
}

/// Counts as a recorder for as long as it lives.
struct Recorder {
    /// The number of steps before.
    first: usize,
}

impl Recorder {
    fn start() -> Self {
        RECORD.with_borrow_mut(|record| {
            record.recorders += 1;
            Self { first: record.steps.len() }
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let done = RECORD.with_borrow_mut(|record| {
            record.recorders -= 1;
            if record.recorders == 0 { std::mem::take(&mut record.steps) } else { Vec::new() }
        });
        // Tensors go where nothing is borrowed.
        drop(done);
    }
}

/// The work that `of` tells of these arguments, if somebody wants to know.
#[inline]
pub(super) fn wanted(arguments: &[&Tensor], of: impl FnOnce(&[&Shape]) -> Work) -> Option<Work> {
    if RECORD.with_borrow(|record| record.recorders == 0) {
        return None;
    }
    let shapes: Vec<&Shape> = arguments.iter().map(|it| it.shape()).collect();
    Some(of(&shapes))
}

/// Adds what ran.
pub(super) fn add(name: &'static str, arguments: &[&Tensor], result: &Tensor, work: Work) {
    let arguments = arguments.iter().map(|&it| it.clone()).collect();
    let step = Step { name, arguments, result: result.clone(), work };
    RECORD.with_borrow_mut(|record| record.steps.push(step));
}
