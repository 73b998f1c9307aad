//! The normalizations of samples as one candle operation, with the residual and a rectifier in the same pass.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use candle_core::{Shape, Tensor};
use taper_core::op::{self, Destination, Field, Operation, Scalar, Values, Work};
use taper_kernels::norm::{ChannelNorm, Gradients, GroupNorm, Input, Row, RowNorm};
use taper_kernels::{Activation, Element, buffer};

use super::terms::Terms;

/// A kernel: y = f(w x̂ + b + r), f a rectifier or the identity.
pub(super) trait Kernel: Copy + Send + Sync + 'static {
    /// The operation's name in messages.
    const NAME: &'static str;

    /// What of x a place of the result sees: all places where the statistics are over places.
    const FIELD: Field;

    /// Whether f is a rectifier.
    fn rectifies(self) -> bool;

    /// The arithmetic for each element of w x̂ + b.
    fn flops(self) -> u64;

    /// Normalises; returns what each group was normalised by.
    fn forward<T: Element>(self, input: Input<'_, T>, eps: f64, y: &mut [T]) -> Vec<Row<T>>;

    /// The gradients of x, which has been normalised by `found`, and of the other arguments.
    fn backward<T: Scalar>(
        self,
        x: &[T],
        weight: Option<&[T]>,
        values: Values<'_, T>,
        found: &[Row<T>],
        gradients: Gradients<'_, T>,
    );
}

macro_rules! kernel {
    ($kernel:ident, $name:literal, $field:ident, $flops:expr) => {
        impl Kernel for $kernel {
            const NAME: &'static str = $name;
            const FIELD: Field = Field::$field;

            fn rectifies(self) -> bool {
                self.rectify
            }

            fn flops(self) -> u64 {
                ($flops)(self)
            }

            fn forward<T: Element>(
                self,
                input: Input<'_, T>,
                eps: f64,
                y: &mut [T],
            ) -> Vec<Row<T>> {
                $kernel::forward(self, input, eps, y)
            }

            fn backward<T: Scalar>(
                self,
                x: &[T],
                weight: Option<&[T]>,
                values: Values<'_, T>,
                found: &[Row<T>],
                gradients: Gradients<'_, T>,
            ) {
                let Values { result, upstream, .. } = values;
                $kernel::backward(self, x, weight, result, upstream, found, gradients);
            }
        }
    };
}

// 1 for the mean, 3 for the variance, 2 for weight and bias; without a mean 2 for that of the squares.
kernel!(RowNorm, "row_norm", Point, |rows: RowNorm| if rows.centred { 6 } else { 4 });
kernel!(GroupNorm, "group_norm", Whole, |_| 6);
kernel!(ChannelNorm, "channel_layer_norm", Point, |_| 6);

/// Normalises by one operation; returns y and what it was normalised by.
pub(super) fn apply<K: Kernel>(
    kernel: K,
    terms: Terms<'_>,
    eps: f64,
) -> candle_core::Result<(Tensor, Found)> {
    apply_as(kernel, terms, eps, kernel.flops())
}

/// [`apply`] that [counts](op::Work) as so much arithmetic for each element of w x̂ + b.
pub(super) fn apply_as<K: Kernel>(
    kernel: K,
    terms: Terms<'_>,
    eps: f64,
    flops: u64,
) -> candle_core::Result<(Tensor, Found)> {
    let Terms { x, residual, weight, bias } = terms;
    let found = Found::default();
    let (has_residual, has_weight) = (residual.is_some(), weight.is_some());
    let op = Fused { kernel, eps, has_residual, has_weight, flops, found: found.clone() };
    let others = [residual, weight, bias].into_iter().flatten();
    let others: Vec<Tensor> =
        others.map(|it| it.to_dtype(x.dtype())).collect::<candle_core::Result<_>>()?;
    let arguments: Vec<&Tensor> = [x].into_iter().chain(&others).collect();
    Ok((op::apply(op, &arguments, x.shape())?, found))
}

/// What a forward pass normalised by, a `Vec<Row<T>>`, once it ran.
#[derive(Clone, Default)]
pub(super) struct Found(Arc<OnceLock<Box<dyn Any + Send + Sync>>>);

impl Found {
    fn rows<T: Scalar>(&self) -> candle_core::Result<&Vec<Row<T>>> {
        match self.0.get().and_then(|rows| rows.downcast_ref()) {
            Some(rows) => Ok(rows),
            None => candle_core::bail!("the forward pass of a normalization left no statistics"),
        }
    }

    /// Mean and biased variance of each group.
    pub(super) fn moments<T: Scalar>(&self, eps: f64) -> candle_core::Result<Vec<[f64; 2]>> {
        Ok(self.rows::<T>()?.iter().map(|row| row.moments(eps)).collect())
    }
}

/// An operation on x and what there is of residual, weight and bias.
struct Fused<K> {
    kernel: K,
    eps: f64,
    has_residual: bool,
    has_weight: bool,
    flops: u64,
    found: Found,
}

impl<K> Fused<K> {
    /// Residual, weight and bias of what follows x.
    fn split<A>(&self, others: impl IntoIterator<Item = A>) -> [Option<A>; 3] {
        let mut others = others.into_iter();
        let residual = if self.has_residual { others.next() } else { None };
        let weight = if self.has_weight { others.next() } else { None };
        [residual, weight, others.next()]
    }
}

impl<K: Kernel> Operation for Fused<K> {
    const NAME: &'static str = K::NAME;

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let [residual, weight, bias] = self.split(arguments[1..].iter().copied());
        let input = Input { x: arguments[0], weight, bias, residual };
        let mut y = buffer(input.x.len());
        let rows = self.kernel.forward(input, self.eps, &mut y);
        // An operation runs forward once.
        let _ = self.found.0.set(Box::new(rows));
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let [_, weight, _] = self.split(values.arguments[1..].iter().copied());
        let (of_x, others) = gradients.split_at_mut(1);
        let [of_x] = op::places(of_x);
        let [mut of_residual, of_weight, of_bias] = self.split(others);
        // Without a rectifier the residual's gradient is the result's.
        if let Some(of_residual) = of_residual.take_if(|_| !self.kernel.rectifies()) {
            of_residual.hand_upstream(values.upstream);
        }
        let gradients = Gradients {
            x: of_x,
            weight: of_weight.and_then(Destination::place),
            bias: of_bias.and_then(Destination::place),
            residual: of_residual.and_then(Destination::place),
        };
        self.kernel.backward(values.arguments[0], weight, values, self.found.rows()?, gradients);
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        let elements = arguments[0].elem_count();
        let activation =
            if self.kernel.rectifies() { Activation::Relu } else { Activation::Identity };
        let flops = self.flops + u64::from(self.has_residual);
        let work = Work::of_elements(elements, flops).activated(elements, activation);
        Work { field: K::FIELD, ..work }
    }
}
