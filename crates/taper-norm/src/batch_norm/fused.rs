//! Batch normalization as one candle operation, with the residual and a rectifier in the same pass.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Shape, Tensor};
use taper_core::op::{self, Destination, Elements, Scalar, by_dtype};
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
        let x = self.x.contiguous()?;
        let like_x = |tensor: &Tensor| tensor.to_dtype(x.dtype())?.contiguous();
        let sizes = BatchNorm {
            samples: x.dims()[0],
            channels: x.dims()[1],
            places: x.dims()[2..].iter().product(),
            rectify: self.rectify,
        };
        let op = Fused { sizes, mode, found, residual: self.residual.is_some() };
        match (self.residual, self.affine) {
            (None, None) => x.apply_op1(op),
            (None, Some((weight, bias))) => x.apply_op3(&like_x(weight)?, &like_x(bias)?, op),
            (Some(residual), None) => x.apply_op2(&like_x(residual)?, op),
            (Some(residual), Some((weight, bias))) => {
                let affine = like_x(weight)?.apply_op2(&like_x(bias)?, Pack)?;
                x.apply_op3(&like_x(residual)?, &affine, op)
            }
        }
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

/// f(normalised x · weight + bias + residual) of contiguous tensors, as an operation on x; on x and the
/// residual; on x, weight and bias; or on x, the residual, and weight and bias packed into one.
struct Fused {
    sizes: BatchNorm,
    mode: Mode,
    found: Found,
    residual: bool,
}

/// An argument in the forward pass.
type Stored<'a> = (&'a CpuStorage, &'a Layout);

fn read<'a, T: Scalar>((storage, layout): &Stored<'a>) -> candle_core::Result<&'a [T]> {
    op::elements(storage, layout)
}

impl Fused {
    /// The two rows of a packed weight and bias.
    fn unpack<'a, T>(&self, packed: &'a [T]) -> [&'a [T]; 2] {
        let (weight, bias) = packed.split_at(self.sizes.channels);
        [weight, bias]
    }

    fn run(
        &self,
        x: Stored<'_>,
        others: &[Stored<'_>],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!(NAME, op::dtype(x.0), T => self.run_as::<T>(x, others))
    }

    fn run_as<T: Scalar>(
        &self,
        x: Stored<'_>,
        others: &[Stored<'_>],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let others = others.iter().map(read::<T>).collect::<candle_core::Result<Vec<_>>>()?;
        let (residual, affine) = match (self.residual, &others[..]) {
            (false, &[weight, bias]) => (None, Some([weight, bias])),
            (true, &[residual, packed]) => (Some(residual), Some(self.unpack(packed))),
            (true, &[residual]) => (Some(residual), None),
            _ => (None, None),
        };
        let [weight, bias] = affine.map_or([None; 2], |affine| affine.map(Some));
        let input = Input { x: read::<T>(&x)?, weight, bias, residual };
        let mut y = buffer::<T>(input.x.len());
        match self.mode {
            Mode::Train { divisor, eps } => {
                let statistics = self.sizes.train(input, divisor, eps, &mut y);
                // An operation runs forward once.
                let _ = self.found.0.set(statistics);
            }
            Mode::Evaluate => self.sizes.evaluate(input, self.found.get()?, &mut y),
        }
        Ok((op::storage(y), x.1.shape().clone()))
    }

    /// The gradients of x, the residual, weight and bias (or the packed two in the place of the weight).
    fn pull<T: Scalar>(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        affine: Affine<'_>,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 4]> {
        let upstream = upstream.contiguous()?;
        let mut of_x = Destination::<T>::of(x);
        // Without a rectifier the residual's gradient is the result's.
        let straight = residual.filter(|residual| !self.sizes.rectify && residual.track_op());
        let mut of_residual =
            residual.filter(|_| self.sizes.rectify).and_then(Destination::<T>::of);
        let (mut of_weight, mut of_bias) = match affine {
            Affine::None => (None, None),
            Affine::Packed(packed) => (Destination::<T>::of(packed), None),
            Affine::Two(weight, bias) => (Destination::of(weight), Destination::of(bias)),
        };
        {
            let weight = match affine {
                Affine::None => None,
                Affine::Packed(weight) | Affine::Two(weight, _) => Some(Elements::of(weight)?),
            };
            let weight = match &weight {
                Some(weight) => Some(&weight.slice::<T>()?[..self.sizes.channels]),
                None => None,
            };
            let mut gradients = Gradients {
                x: op::place(&mut of_x),
                weight: op::place(&mut of_weight),
                bias: op::place(&mut of_bias),
                residual: op::place(&mut of_residual),
            };
            if let Affine::Packed(_) = affine
                && let Some((packed, update)) = gradients.weight.take()
            {
                let (weight, bias) = packed.split_at_mut(self.sizes.channels);
                gradients.weight = Some((weight, update));
                gradients.bias = Some((bias, update));
            }
            self.sizes.backward(
                Elements::of(x)?.slice()?,
                weight,
                Elements::of(y)?.slice()?,
                Elements::of(&upstream)?.slice()?,
                self.found.get()?,
                gradients,
            );
        }
        let of_residual = match straight {
            Some(_) => Some(upstream),
            None => op::finish(of_residual)?,
        };
        Ok([op::finish(of_x)?, of_residual, op::finish(of_weight)?, op::finish(of_bias)?])
    }

    fn backward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        affine: Affine<'_>,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 4]> {
        by_dtype!(NAME, x.dtype(), T => self.pull::<T>(x, residual, affine, y, upstream))
    }
}

/// Weight and bias in the backward pass.
#[derive(Clone, Copy)]
enum Affine<'a> {
    None,
    Packed(&'a Tensor),
    Two(&'a Tensor, &'a Tensor),
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, layout), &[])
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let [of_x, ..] = self.backward(x, None, Affine::None, y, upstream)?;
        Ok(of_x)
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), &[(residual, residual_layout)])
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_residual, ..] =
            self.backward(x, Some(residual), Affine::None, y, upstream)?;
        Ok((of_x, of_residual))
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
        third: &CpuStorage,
        third_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), &[(second, second_layout), (third, third_layout)])
    }

    fn bwd(
        &self,
        x: &Tensor,
        second: &Tensor,
        third: &Tensor,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.residual {
            let affine = Affine::Packed(third);
            let [of_x, of_residual, of_affine, _] =
                self.backward(x, Some(second), affine, y, upstream)?;
            return Ok((of_x, of_residual, of_affine));
        }
        let affine = Affine::Two(second, third);
        let [of_x, _, of_weight, of_bias] = self.backward(x, None, affine, y, upstream)?;
        Ok((of_x, of_weight, of_bias))
    }
}

/// Two vectors of one length as the rows of a matrix: candle's operations have three arguments at most.
struct Pack;

impl Pack {
    fn split<T: Scalar>(
        arguments: [&Tensor; 2],
        upstream: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 2]> {
        let upstream = upstream.contiguous()?;
        let upstream = Elements::of(&upstream)?;
        let rows = upstream.slice::<T>()?;
        let [first, second] = arguments;
        let (a, b) = rows.split_at(first.elem_count());
        let hand = |argument: &Tensor, row: &[T]| {
            let mut destination = Destination::<T>::of(argument);
            if let Some((gradient, update)) = op::place(&mut destination) {
                match update {
                    taper_kernels::Update::Replace => gradient.copy_from_slice(row),
                    taper_kernels::Update::Add => {
                        gradient.iter_mut().zip(row).for_each(|(sum, addend)| *sum += *addend);
                    }
                }
            }
            op::finish(destination)
        };
        Ok([hand(first, a)?, hand(second, b)?])
    }
}

impl CustomOp2 for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn cpu_fwd(
        &self,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!("pack", op::dtype(first), T => {
            let first = op::elements::<T>(first, first_layout)?;
            let rows = [first, op::elements(second, second_layout)?].concat();
            Ok((op::storage(rows), Shape::from((2, first.len()))))
        })
    }

    fn bwd(
        &self,
        first: &Tensor,
        second: &Tensor,
        _rows: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [a, b] = by_dtype!("pack", first.dtype(), T => {
            Self::split::<T>([first, second], upstream)
        })?;
        Ok((a, b))
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
