//! How an operation stands in candle's graph.
//!
//! candle brings a gradient over an edge with two tensors more: zeros, and the sum of them and the gradient. For
//! large activations that costs as much as the operation. So the gradient of a result goes from one operation
//! to another beside candle's graph. An operation is two nodes there:
//!
//! ```text
//! arguments ──> source (one element) ──> result
//! ```
//!
//! An operation whose argument is the result of another hangs on its *source*: it puts the gradient into the
//! source's [`Mailbox`] and hands candle the number 1. candle adds these up and visits the source after all
//! that depends on it, with the number of gradients that are waiting there. What candle's own operations find for the
//! result comes by the node of the result, which puts it into the same mailbox.

mod fork;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor, TensorId, bail};
use taper_kernels::Element;

use self::fork::Node;
use super::{Destination, Elements, Operation, Scalar, Values, storage};

/// The result of an operation on these contiguous arguments, as a tensor from which gradients find back.
pub(super) fn insert<O: Operation, T: Scalar>(
    operation: O,
    arguments: &[Tensor],
    result: Vec<T>,
    shape: Shape,
) -> Result<Tensor> {
    let ways: Vec<Way> = arguments.iter().map(Way::of).collect();
    let tracked: Vec<Tensor> = ways.iter().filter_map(Way::in_graph).cloned().collect();
    if tracked.is_empty() {
        return Tensor::from_vec(result, shape, &Device::Cpu);
    }
    let arrived = Arc::new(Mailbox::default());
    let detached = Arc::new(OnceLock::new());
    let source = Source::<O, T> {
        operation,
        arguments: arguments.iter().map(Tensor::detach).collect(),
        ways,
        result: Arc::clone(&detached),
        arrived: Arc::clone(&arrived),
        element: PhantomData,
    };
    let source = fork::insert::<_, T>(source, &tracked)?;
    let id = Arc::new(OnceLock::new());
    let output = Output::<T> {
        name: O::NAME,
        made: Mutex::new(Some((storage(result), shape))),
        arrived: Arc::clone(&arrived),
        id: Arc::clone(&id),
        element: PhantomData,
    };
    let result = source.apply_op1(output)?;
    let _ = detached.set(result.detach());
    let _ = id.set(result.id());
    links().insert(result.id(), Link { source, arrived });
    Ok(result)
}

/// How the gradient of an argument gets there.
enum Way {
    /// None is wanted.
    None,
    /// Over candle's edge to the argument, or into the buffer of a parameter.
    Candle(Tensor),
    /// To the operation that the argument is the result of.
    Direct(Link),
}

impl Way {
    fn of(argument: &Tensor) -> Self {
        if !argument.track_op() {
            return Self::None;
        }
        match links().get(&argument.id()) {
            Some(link) => Self::Direct(link.clone()),
            None => Self::Candle(argument.clone()),
        }
    }

    /// What stands for the argument in candle's graph.
    fn in_graph(&self) -> Option<&Tensor> {
        match self {
            Self::None => None,
            Self::Candle(argument) => Some(argument),
            Self::Direct(link) => Some(&link.source),
        }
    }
}

/// The source of a result, and where its gradients wait.
#[derive(Clone)]
struct Link {
    source: Tensor,
    arrived: Arc<Mailbox<Tensor>>,
}

/// The links of the results that live.
fn links() -> MutexGuard<'static, HashMap<TensorId, Link>> {
    static LINKS: LazyLock<Mutex<HashMap<TensorId, Link>>> = LazyLock::new(Mutex::default);
    // No user code runs while it is held.
    LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of this thread: a graph may be gone back on several at once.
fn here() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static HERE: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    HERE.with(|here| *here)
}

/// What waits for the running backward pass to come by.
struct Mailbox<V>(Mutex<Vec<(u64, V)>>);

impl<V> Default for Mailbox<V> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<V> Mailbox<V> {
    fn letters(&self) -> MutexGuard<'_, Vec<(u64, V)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, value: V) {
        self.letters().push((here(), value));
    }

    /// The last `count` of this thread, the first of them first. Those before were left by a backward pass that failed.
    fn take(&self, count: usize) -> Result<Vec<V>> {
        let here = here();
        let mut letters = self.letters();
        let mut mine: Vec<V> =
            letters.extract_if(.., |(thread, _)| *thread == here).map(|(_, value)| value).collect();
        match mine.len().checked_sub(count) {
            Some(stale) if count > 0 => Ok(mine.split_off(stale)),
            _ => bail!("{count} gradients should wait for an operation, not {}", mine.len()),
        }
    }
}

/// The tensor that tells candle that one gradient has arrived.
fn one<T: Scalar>() -> Result<Tensor> {
    Tensor::from_vec(vec![T::ONE], (), &Device::Cpu)
}

/// What a node that only counts holds.
fn nothing<T: Scalar>() -> (CpuStorage, Shape) {
    (storage(vec![T::ZERO]), Shape::from(()))
}

/// The operation between its arguments and its result.
struct Source<O, T> {
    operation: O,
    arguments: Vec<Tensor>,
    ways: Vec<Way>,
    result: Arc<OnceLock<Tensor>>,
    arrived: Arc<Mailbox<Tensor>>,
    element: PhantomData<fn() -> T>,
}

impl<O: Operation, T: Scalar> Node for Source<O, T> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    /// `count` is the number of gradients that have arrived.
    fn pull(&self, count: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let Some(result) = self.result.get() else {
            bail!("{}: there is no result", O::NAME);
        };
        let count = Element::to_f64(count.to_scalar::<T>()?);
        let upstream = self.upstream(count as usize)?;
        let mut gradients: Vec<Destination<T>> = self
            .ways
            .iter()
            .zip(&self.arguments)
            .map(|(way, argument)| way.destination(argument))
            .collect();
        {
            let arguments = self.arguments.iter().map(Elements::of).collect::<Result<Vec<_>>>()?;
            let arguments =
                arguments.iter().map(Elements::slice::<T>).collect::<Result<Vec<_>>>()?;
            let (result, upstream) = (Elements::of(result)?, Elements::of(&upstream)?);
            let values = Values {
                arguments: &arguments,
                result: result.slice()?,
                upstream: upstream.slice()?,
            };
            self.operation.backward(values, &mut gradients)?;
        }
        let mut found = Vec::new();
        for (at, (way, gradient)) in self.ways.iter().zip(gradients).enumerate() {
            let gradient = gradient.finish(&upstream).map_err(|error| {
                candle_core::Error::Msg(format!("{}, argument {at}: {error}", O::NAME))
            })?;
            match way {
                Way::None => {}
                Way::Candle(_) => found.push(gradient),
                Way::Direct(link) => {
                    if let Some(gradient) = gradient {
                        link.arrived.put(gradient);
                    }
                    found.push(Some(one::<T>()?));
                }
            }
        }
        Ok(found)
    }
}

impl<O: Operation, T: Scalar> Source<O, T> {
    /// The gradient of the result.
    fn upstream(&self, count: usize) -> Result<Tensor> {
        let mut arrived = self.arrived.take(count)?.into_iter();
        let Some(first) = arrived.next() else {
            bail!("{}: no gradient has arrived", O::NAME);
        };
        arrived.try_fold(first, |sum, gradient| sum + gradient)?.contiguous()
    }
}

impl Way {
    fn destination<T: Scalar>(&self, detached: &Tensor) -> Destination<T> {
        match self {
            Self::None => Destination::unwanted(detached),
            Self::Candle(argument) => Destination::of(argument),
            Self::Direct(_) => Destination::fresh(detached),
        }
    }
}

/// The result in candle's graph, for candle's own operations.
struct Output<T> {
    name: &'static str,
    made: Mutex<Option<(CpuStorage, Shape)>>,
    arrived: Arc<Mailbox<Tensor>>,
    id: Arc<OnceLock<TensorId>>,
    element: PhantomData<fn() -> T>,
}

impl<T: Scalar> CustomOp1 for Output<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.made.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(made) => Ok(made),
            None => bail!("{}: the result was handed out already", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        self.arrived.put(upstream.clone());
        Ok(Some(one::<T>()?))
    }
}

impl<T> Drop for Output<T> {
    fn drop(&mut self) {
        // The link goes after the lock: with it the operations before may go, which come by here, too.
        let _link = self.id.get().and_then(|id| links().remove(id));
    }
}
