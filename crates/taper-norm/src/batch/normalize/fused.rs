//! The normalization as one candle operation, with the residual and a rectifier in the same pass.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{DType, Shape, Tensor};
use taper_core::op::{
    self, Destination, Element, Elements, Operation, Scalar, Update, Values, Work,
};
use taper_kernels::norm::{BatchNorm, Gradients, Input, Statistics};
use taper_kernels::{Activation, Gradient, buffer};

use super::{Batch, Moments, Normalize};

const NAME: &str = "batch_norm";

/// f(normalised x · weight + bias + residual), an operation on x and what there is of residual, weight and bias.
pub(super) struct Fused {
    sizes: BatchNorm,
    mode: Mode,
    found: Found,
    /// Whether there is a residual.
    residual: bool,
}

enum Mode {
    Given,
    Batch { batch: Batch, eps: f64 },
}

/// The parts of the batch, once the forward pass ran.
#[derive(Debug, Clone, Default)]
struct Found(Arc<OnceLock<Vec<Part>>>);

/// What samples that share statistics were normalised with.
#[derive(Debug)]
struct Part {
    samples: Range<usize>,
    statistics: Statistics,
    /// r and d of each channel.
    correction: Option<Vec<[f64; 2]>>,
}

impl Fused {
    /// By given statistics.
    pub(super) fn given(
        call: &Normalize,
        mean: &Tensor,
        variance: &Tensor,
    ) -> candle_core::Result<Tensor> {
        let statistics = Statistics::given(numbers(mean)?, &numbers(variance)?, call.eps);
        let part = Part { samples: 0..call.x.dims()[0], statistics, correction: None };
        apply(call, Mode::Given, Found(Arc::new(OnceLock::from(vec![part]))))
    }

    /// By the statistics of each part of the batch.
    pub(super) fn batch(
        call: &Normalize,
        batch: &Batch,
    ) -> candle_core::Result<(Tensor, Vec<Moments>)> {
        let found = Found::default();
        let mode = Mode::Batch { batch: batch.clone(), eps: call.eps };
        let y = apply(call, mode, found.clone())?;
        let places: usize = call.x.dims()[2..].iter().product();
        let moments = found.get()?.iter().map(|part| Moments {
            mean: part.statistics.mean.clone(),
            squares: part.statistics.squares.clone(),
            count: part.samples.len() * places,
        });
        Ok((y, moments.collect()))
    }

    /// Residual, weight and bias of what follows x.
    fn split<A>(&self, others: impl IntoIterator<Item = A>) -> [Option<A>; 3] {
        let mut others = others.into_iter();
        let residual = if self.residual { others.next() } else { None };
        [residual, others.next(), others.next()]
    }

    fn of_part(&self, samples: &Range<usize>) -> (BatchNorm, Range<usize>) {
        let size = self.sizes.channels * self.sizes.places;
        let sizes = BatchNorm { samples: samples.len(), ..self.sizes };
        (sizes, samples.start * size..samples.end * size)
    }

    /// Normalises some samples by their own statistics.
    fn part<T: Scalar>(
        &self,
        samples: Range<usize>,
        (batch, eps): (&Batch, f64),
        input: Input<'_, T>,
        y: &mut [T],
    ) -> Part {
        let (sizes, range) = self.of_part(&samples);
        let residual = input.residual.map(|residual| &residual[range.clone()]);
        let input = Input { x: &input.x[range.clone()], residual, ..input };
        let y = &mut y[range];
        let divisor = batch.variance.divisor(samples.len() * sizes.places);
        let statistics = sizes.train(input, divisor, eps, y);
        let correction = batch.correction.as_ref().map(|correction| {
            let std = statistics.inverse_std.iter().map(|inverse| inverse.recip());
            correction.of(&statistics.mean, std)
        });
        if let Some(correction) = &correction {
            let (weight, bias) = corrected(correction, input.weight, input.bias);
            let input = Input { weight: Some(&weight), bias: Some(&bias), ..input };
            sizes.evaluate(input, &statistics, y);
        }
        Part { samples, statistics, correction }
    }
}

fn apply(call: &Normalize, mode: Mode, found: Found) -> candle_core::Result<Tensor> {
    let x = &call.x;
    let sizes = BatchNorm {
        samples: x.dims()[0],
        channels: x.dims()[1],
        places: x.dims()[2..].iter().product(),
        rectify: call.rectify(),
    };
    let op = Fused { sizes, mode, found, residual: call.residual.is_some() };
    let (weight, bias) = call.affine.map(|(weight, bias)| (weight, bias)).unzip();
    let others = [call.residual.as_ref(), weight, bias].into_iter().flatten();
    let others: Vec<Tensor> =
        others.map(|it| it.to_dtype(x.dtype())).collect::<candle_core::Result<_>>()?;
    let arguments: Vec<&Tensor> = [x].into_iter().chain(&others).collect();
    op::apply(op, &arguments, x.shape())
}

/// w r and w d + b.
fn corrected<T: Element>(
    correction: &[[f64; 2]],
    weight: Option<&[T]>,
    bias: Option<&[T]>,
) -> (Vec<T>, Vec<T>) {
    let at = |values: Option<&[T]>, channel: usize, other: f64| {
        values.map_or(other, |values| values[channel].to_f64())
    };
    let channels = correction.iter().enumerate().map(|(channel, [r, d])| {
        let (weight, bias) = (at(weight, channel, 1.0), at(bias, channel, 0.0));
        (T::of(weight * r), T::of(weight * d + bias))
    });
    channels.unzip()
}

impl Found {
    fn get(&self) -> candle_core::Result<&[Part]> {
        match self.0.get() {
            Some(parts) => Ok(parts),
            None => candle_core::bail!("{NAME}: the forward pass left no statistics"),
        }
    }
}

impl Operation for Fused {
    const NAME: &'static str = NAME;

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let [residual, weight, bias] = self.split(arguments[1..].iter().copied());
        let input = Input { x: arguments[0], weight, bias, residual };
        let mut y = buffer(input.x.len());
        match &self.mode {
            Mode::Batch { batch, eps } => {
                let all = self.sizes.samples;
                let parts = (0..all).step_by(batch.part.max(1)).map(|start| {
                    let samples = start..start.saturating_add(batch.part).min(all);
                    self.part(samples, (batch, *eps), input, &mut y)
                });
                // An operation runs forward once.
                let _ = self.found.0.set(parts.collect());
            }
            Mode::Given => {
                for part in self.found.get()? {
                    self.sizes.evaluate(input, &part.statistics, &mut y);
                }
            }
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
        let [mut of_x] = op::places(of_x);
        let [mut of_residual, of_weight, of_bias] = self.split(others);
        // Without a rectifier the residual's gradient is the result's.
        if let Some(of_residual) = of_residual.take_if(|_| !self.sizes.rectify) {
            of_residual.hand_upstream(upstream);
        }
        let mut of_residual = of_residual.and_then(Destination::place);
        let mut of_weight = of_weight.and_then(Destination::place);
        let mut of_bias = of_bias.and_then(Destination::place);
        for part in self.found.get()? {
            let (sizes, range) = self.of_part(&part.samples);
            let [x, y, upstream] = [arguments[0], result, upstream].map(|it| &it[range.clone()]);
            let gradients = Gradients {
                x: section(&mut of_x, range.clone()),
                residual: section(&mut of_residual, range.clone()),
                weight: section(&mut of_weight, 0..sizes.channels),
                bias: section(&mut of_bias, 0..sizes.channels),
            };
            let back = |weight: Option<&[T]>, gradients: Gradients<'_, T>| {
                sizes.backward(x, weight, y, upstream, &part.statistics, gradients);
            };
            match &part.correction {
                None => back(weight, gradients),
                Some(correction) => corrected_back(correction, weight, gradients, back),
            }
            // What the next part finds of a parameter's gradient is a part of the sum.
            for (_, update) in [&mut of_weight, &mut of_bias].into_iter().flatten() {
                *update = Update::Add;
            }
        }
        Ok(())
    }

    /// A product and a sum for each element, as in evaluation.
    fn work(&self, arguments: &[&Shape]) -> Work {
        let elements = arguments[0].elem_count();
        let activation = if self.sizes.rectify { Activation::Relu } else { Activation::Identity };
        Work::of_elements(elements, 2 + u64::from(self.residual)).activated(elements, activation)
    }
}

/// A part of a place, as long as that one is borrowed.
fn section<'a, T>(place: &'a mut Gradient<'_, T>, range: Range<usize>) -> Gradient<'a, T> {
    place.as_mut().map(|(place, update)| (&mut place[range], *update))
}

/// The gradients of w and b from those of w r and w d + b, which `back` finds.
fn corrected_back<T: Element>(
    correction: &[[f64; 2]],
    weight: Option<&[T]>,
    gradients: Gradients<'_, T>,
    back: impl FnOnce(Option<&[T]>, Gradients<'_, T>),
) {
    let (weight, _) = corrected(correction, weight, None);
    let mut sums = [buffer::<T>(weight.len()), buffer::<T>(weight.len())];
    let Gradients { x, residual, weight: of_weight, bias: of_bias } = gradients;
    let [of_scale, of_shift] = &mut sums;
    let (of_scale, of_shift) =
        ((&mut of_scale[..], Update::Replace), (&mut of_shift[..], Update::Replace));
    back(Some(&weight), Gradients { x, residual, weight: Some(of_scale), bias: Some(of_shift) });
    let [of_scale, of_shift] = sums;
    if let Some((to, update)) = of_weight {
        for (at, [r, d]) in correction.iter().enumerate() {
            let gradient = T::of(r * of_scale[at].to_f64() + d * of_shift[at].to_f64());
            to[at] = if update == Update::Add { to[at] + gradient } else { gradient };
        }
    }
    if let Some((to, update)) = of_bias {
        for (to, gradient) in to.iter_mut().zip(of_shift) {
            *to = if update == Update::Add { *to + gradient } else { gradient };
        }
    }
}

/// Numbers of any floating-point tensor, for one value a channel.
pub(in crate::batch) fn numbers(tensor: &Tensor) -> candle_core::Result<Vec<f64>> {
    let detached = tensor.detach().contiguous()?;
    match (detached.dtype(), detached.device().is_cpu()) {
        (DType::F32, true) => {
            Ok(Elements::of(&detached)?.slice::<f32>()?.iter().copied().map(f64::from).collect())
        }
        (DType::F64, true) => Ok(Elements::of(&detached)?.slice::<f64>()?.to_vec()),
        _ => detached.to_dtype(DType::F64)?.to_vec1(),
    }
}
