//! Any number of arguments in candle's graph, whose operations have three at most: in a place there is one argument,
//! or a joint of several.

use std::marker::PhantomData;
use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use super::{Mailbox, nothing, one};
use crate::op::Scalar;

/// What stands between arguments and what depends on them.
pub(super) trait Node: Send + Sync + 'static {
    /// The name in candle's messages.
    fn name(&self) -> &'static str;

    /// What candle expects for each argument, in their order, when `upstream` has arrived.
    fn pull(&self, upstream: &Tensor) -> Result<Vec<Option<Tensor>>>;
}

/// The node in candle's graph, on these arguments, which are tracked.
pub(super) fn insert<N: Node, T: Scalar>(node: N, arguments: &[Tensor]) -> Result<Tensor> {
    let count = arguments.len().min(3);
    let (mut tensors, mut places) = (Vec::new(), Vec::new());
    for at in 0..count {
        let part = &arguments[at * arguments.len() / count..(at + 1) * arguments.len() / count];
        if let [argument] = part {
            tensors.push(argument.clone());
            places.push(Place::Argument);
        } else {
            let later = Arc::new(Mailbox::default());
            tensors.push(insert::<_, T>(Joint { later: Arc::clone(&later) }, part)?);
            places.push(Place::Joint { count: part.len(), later });
        }
    }
    let fork = Fork::<N, T> { node, places, element: PhantomData };
    match &tensors[..] {
        [a] => a.apply_op1(fork),
        [a, b] => a.apply_op2(b, fork),
        [a, b, c] => a.apply_op3(b, c, fork),
        _ => bail!("{}: a node has an argument", fork.node.name()),
    }
}

/// The gradients of some arguments, until their joint is visited.
type Later = Mailbox<Vec<Option<Tensor>>>;

enum Place {
    Argument,
    Joint { count: usize, later: Arc<Later> },
}

/// Several arguments in one place.
struct Joint {
    later: Arc<Later>,
}

impl Node for Joint {
    fn name(&self) -> &'static str {
        "joint"
    }

    fn pull(&self, _: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(self.later.take(1)?.pop().unwrap_or_default())
    }
}

/// A node and the places of its arguments.
struct Fork<N, T> {
    node: N,
    places: Vec<Place>,
    element: PhantomData<fn() -> T>,
}

impl<N: Node, T: Scalar> Fork<N, T> {
    /// What candle expects for each place.
    fn hand<const N_PLACES: usize>(&self, upstream: &Tensor) -> Result<[Option<Tensor>; N_PLACES]> {
        let mut found = self.node.pull(upstream)?;
        let mut handed = Vec::new();
        for place in &self.places {
            let count = match place {
                Place::Argument => 1,
                Place::Joint { count, .. } => *count,
            };
            if found.len() < count {
                bail!("{}: {count} gradients are expected, not {}", self.node.name(), found.len());
            }
            let rest = found.split_off(count);
            match place {
                Place::Argument => handed.extend(found),
                Place::Joint { later, .. } => {
                    later.put(found);
                    handed.push(Some(one::<T>()?));
                }
            }
            found = rest;
        }
        match handed.try_into() {
            Ok(handed) => Ok(handed),
            Err(_) => bail!("{}: a node of {N_PLACES} places is expected", self.node.name()),
        }
    }
}

impl<N: Node, T: Scalar> CustomOp1 for Fork<N, T> {
    fn name(&self) -> &'static str {
        self.node.name()
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(nothing::<T>())
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let [a] = self.hand(upstream)?;
        Ok(a)
    }
}

impl<N: Node, T: Scalar> CustomOp2 for Fork<N, T> {
    fn name(&self) -> &'static str {
        self.node.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(nothing::<T>())
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = self.hand(upstream)?;
        Ok((a, b))
    }
}

impl<N: Node, T: Scalar> CustomOp3 for Fork<N, T> {
    fn name(&self) -> &'static str {
        self.node.name()
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Ok(nothing::<T>())
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = self.hand(upstream)?;
        Ok((a, b, c))
    }
}
