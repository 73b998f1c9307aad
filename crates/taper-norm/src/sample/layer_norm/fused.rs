//! Layer normalization as one candle operation.

use std::any::Any;
use std::sync::OnceLock;

use candle_core::Tensor;
use taper_core::op::{self, Destination, Operation, Scalar, Values};
use taper_kernels::buffer;
use taper_kernels::norm::{Gradients, Input, Row, RowNorm};

/// Normalises over the last `features` elements of each sample; weight and bias have as many.
pub(super) fn apply(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    features: usize,
    eps: f64,
) -> candle_core::Result<Tensor> {
    let sizes = RowNorm { rows: x.elem_count() / features, columns: features, centred: true };
    let like_x = |tensor: Option<&Tensor>| tensor.map(|it| it.to_dtype(x.dtype())).transpose();
    let (weight, bias) = (like_x(weight)?, like_x(bias)?);
    let op = Fused { sizes, eps, weight: weight.is_some(), rows: OnceLock::new() };
    let arguments: Vec<&Tensor> =
        [Some(x), weight.as_ref(), bias.as_ref()].into_iter().flatten().collect();
    op::apply(op, &arguments, x.shape())
}

/// An operation on x and what there is of weight and bias.
struct Fused {
    sizes: RowNorm,
    eps: f64,
    /// Whether there is a weight.
    weight: bool,
    /// What the rows were normalised by, a `Vec<Row<T>>`, from the forward pass for the backward passes.
    rows: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Fused {
    /// Weight and bias of what follows x.
    fn affine<'a, T>(&self, others: &[&'a [T]]) -> [Option<&'a [T]>; 2] {
        let mut others = others.iter().copied();
        let weight = if self.weight { others.next() } else { None };
        [weight, others.next()]
    }
}

impl Operation for Fused {
    const NAME: &'static str = "layer_norm";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let [weight, bias] = self.affine(&arguments[1..]);
        let input = Input { x: arguments[0], weight, bias, residual: None };
        let mut y = buffer(input.x.len());
        let rows = self.sizes.forward(input, self.eps, &mut y);
        // An operation runs forward once.
        let _ = self.rows.set(Box::new(rows));
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Some(rows) = self.rows.get().and_then(|rows| rows.downcast_ref::<Vec<Row<T>>>()) else {
            candle_core::bail!("{}: the forward pass left no statistics", Self::NAME);
        };
        let [weight, _] = self.affine(&values.arguments[1..]);
        let [of_x, second, third] = op::places(gradients);
        let (of_weight, of_bias) = if self.weight { (second, third) } else { (None, second) };
        let gradients = Gradients { x: of_x, weight: of_weight, bias: of_bias, residual: None };
        self.sizes.backward(values.arguments[0], weight, values.upstream, rows, gradients);
        Ok(())
    }
}
