//! Batch normalization as one candle operation, with the residual and a rectifier in the same pass.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Tensor};
use taper_core::op::{self, Destination, Elements, Operation, Scalar, Values};
use taper_kernels::buffer;
use taper_kernels::norm::{BatchNorm, Gradients, Input, Statistics};

const NAME: &str = "batch_norm";

/// The tensors of a normalization, of one dtype on the CPU.
pub(super) struct Arguments<'a> {
    pub(super) x: &'a Tensor,
    pub(super) residual: Option<&'a Tensor>,
    /// Weight and bias.
    pub(super) affine: Option<&'a (Tensor, Tensor)>,
    pub(super) rectify: bool,
}

impl Arguments<'_> {
    /// Normalises by the statistics of the batch, and returns them.
    pub(super) fn train(&self, divisor: f64, eps: f64) -> candle_core::Result<(Tensor, Found)> {
        let found = Found::default();
        let mode = Mode::Train { divisor, eps };
        Ok((self.apply(mode, found.clone())?, found))
    }

    /// Normalises by given statistics.
    pub(super) fn evaluate(&self, statistics: Statistics) -> candle_core::Result<Tensor> {
        self.apply(Mode::Evaluate, Found(Arc::new(OnceLock::from(statistics))))
    }

    fn apply(&self, mode: Mode, found: Found) -> candle_core::Result<Tensor> {
        let sizes = BatchNorm {
            samples: self.x.dims()[0],
            channels: self.x.dims()[1],
            places: self.x.dims()[2..].iter().product(),
            rectify: self.rectify,
        };
        let op = Fused { sizes, mode, found, residual: self.residual.is_some() };
        let (weight, bias) = self.affine.map(|(weight, bias)| (weight, bias)).unzip();
        let others = [self.residual, weight, bias].into_iter().flatten();
        let others: Vec<Tensor> =
            others.map(|it| it.to_dtype(self.x.dtype())).collect::<candle_core::Result<_>>()?;
        let arguments: Vec<&Tensor> = [self.x].into_iter().chain(&others).collect();
        op::apply(op, &arguments, self.x.shape())
    }
}

/// The statistics that a forward pass found, once it ran.
#[derive(Debug, Clone, Default)]
pub(super) struct Found(Arc<OnceLock<Statistics>>);

impl Found {
    pub(super) fn get(&self) -> candle_core::Result<&Statistics> {
        match self.0.get() {
            Some(statistics) => Ok(statistics),
            None => candle_core::bail!("{NAME}: the forward pass left no statistics"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Train { divisor: f64, eps: f64 },
    Evaluate,
}

/// f(normalised x · weight + bias + residual), an operation on x and what there is of residual, weight and bias.
struct Fused {
    sizes: BatchNorm,
    mode: Mode,
    found: Found,
    /// Whether there is a residual.
    residual: bool,
}

impl Fused {
    /// Residual, weight and bias of what follows x.
    fn split<A>(&self, others: impl IntoIterator<Item = A>) -> [Option<A>; 3] {
        let mut others = others.into_iter();
        let residual = if self.residual { others.next() } else { None };
        [residual, others.next(), others.next()]
    }
}

impl Operation for Fused {
    const NAME: &'static str = NAME;

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let [residual, weight, bias] = self.split(arguments[1..].iter().copied());
        let input = Input { x: arguments[0], weight, bias, residual };
        let mut y = buffer(input.x.len());
        match self.mode {
            Mode::Train { divisor, eps } => {
                let statistics = self.sizes.train(input, divisor, eps, &mut y);
                // An operation runs forward once.
                let _ = self.found.0.set(statistics);
            }
            Mode::Evaluate => self.sizes.evaluate(input, self.found.get()?, &mut y),
        }
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Values { arguments, result, upstream } = values;
        let [_, weight, _] = self.split(arguments[1..].iter().copied());
        let (of_x, others) = gradients.split_at_mut(1);
        let [of_x] = op::places(of_x);
        let [mut of_residual, of_weight, of_bias] = self.split(others);
        // Without a rectifier the residual's gradient is the result's.
        if let Some(of_residual) = of_residual.take_if(|_| !self.sizes.rectify) {
            of_residual.hand_upstream(upstream);
        }
        let gradients = Gradients {
            x: of_x,
            weight: of_weight.and_then(Destination::place),
            bias: of_bias.and_then(Destination::place),
            residual: of_residual.and_then(Destination::place),
        };
        self.sizes.backward(arguments[0], weight, result, upstream, self.found.get()?, gradients);
        Ok(())
    }
}

/// Numbers of any floating-point tensor, for one value a channel.
pub(super) fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    let detached = tensor.detach().contiguous()?;
    match (detached.dtype(), detached.device().is_cpu()) {
        (DType::F32, true) => {
            Ok(Elements::of(&detached)?.slice::<f32>()?.iter().copied().map(f64::from).collect())
        }
        (DType::F64, true) => Ok(Elements::of(&detached)?.slice::<f64>()?.to_vec()),
        _ => detached.to_dtype(DType::F64)?.to_vec1(),
    }
}
