//! Layer normalization as one candle operation.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Shape, Tensor};
use taper_core::op::{self, Destination, Elements, Scalar, by_dtype};
use taper_kernels::buffer;
use taper_kernels::norm::{Gradients, Input, LayerNorm, Row};

const NAME: &str = "layer_norm";

/// Normalises over the last `features` elements of each sample; weight and bias have as many.
pub(super) fn apply(
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    features: usize,
    eps: f64,
) -> candle_core::Result<Tensor> {
    let x = x.contiguous()?;
    let like_x = |tensor: &Tensor| tensor.to_dtype(x.dtype())?.contiguous();
    let sizes = LayerNorm { rows: x.elem_count() / features, columns: features };
    let op = Fused { sizes, eps, only_bias: weight.is_none(), found: Found::default() };
    match (weight, bias) {
        (None, None) => x.apply_op1(op),
        (Some(weight), Some(bias)) => x.apply_op3(&like_x(weight)?, &like_x(bias)?, op),
        (Some(one), None) | (None, Some(one)) => x.apply_op2(&like_x(one)?, op),
    }
}

/// What the rows were normalised by, kept for the backward passes.
#[derive(Default)]
struct Found {
    single: OnceLock<Vec<Row<f32>>>,
    double: OnceLock<Vec<Row<f64>>>,
}

/// An element type whose rows can be kept.
trait Keep: Scalar {
    fn kept(found: &Found) -> &OnceLock<Vec<Row<Self>>>;
}

impl Keep for f32 {
    fn kept(found: &Found) -> &OnceLock<Vec<Row<Self>>> {
        &found.single
    }
}

impl Keep for f64 {
    fn kept(found: &Found) -> &OnceLock<Vec<Row<Self>>> {
        &found.double
    }
}

/// An operation on x; on x and the weight, or the bias where there is only that; or on all three.
struct Fused {
    sizes: LayerNorm,
    eps: f64,
    only_bias: bool,
    found: Found,
}

/// An argument in the forward pass.
type Stored<'a> = (&'a CpuStorage, &'a Layout);

fn read<'a, T: Scalar>((storage, layout): Stored<'a>) -> candle_core::Result<&'a [T]> {
    op::elements(storage, layout)
}

impl Fused {
    /// Weight and bias among the arguments after x.
    fn affine<A>(&self, second: Option<A>, third: Option<A>) -> [Option<A>; 2] {
        if self.only_bias { [None, second] } else { [second, third] }
    }

    fn run(
        &self,
        x: Stored<'_>,
        second: Option<Stored<'_>>,
        third: Option<Stored<'_>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let affine = self.affine(second, third);
        by_dtype!(NAME, op::dtype(x.0), T => self.run_as::<T>(x, affine))
    }

    fn run_as<T: Keep>(
        &self,
        x: Stored<'_>,
        [weight, bias]: [Option<Stored<'_>>; 2],
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let input = Input {
            x: read::<T>(x)?,
            weight: weight.map(read).transpose()?,
            bias: bias.map(read).transpose()?,
            residual: None,
        };
        let mut y = buffer::<T>(input.x.len());
        // An operation runs forward once.
        let _ = T::kept(&self.found).set(self.sizes.forward(input, self.eps, &mut y));
        Ok((op::storage(y), x.1.shape().clone()))
    }

    /// The gradients of x and of the arguments after it.
    fn backward(
        &self,
        x: &Tensor,
        second: Option<&Tensor>,
        third: Option<&Tensor>,
        upstream: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let affine = self.affine(second, third);
        let [of_x, of_weight, of_bias] =
            by_dtype!(NAME, x.dtype(), T => self.pull::<T>(x, affine, upstream))?;
        Ok(if self.only_bias { [of_x, of_bias, None] } else { [of_x, of_weight, of_bias] })
    }

    fn pull<T: Keep>(
        &self,
        x: &Tensor,
        [weight, bias]: [Option<&Tensor>; 2],
        upstream: &Tensor,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let Some(found) = T::kept(&self.found).get() else {
            candle_core::bail!("{NAME}: the forward pass left no statistics");
        };
        let upstream = upstream.contiguous()?;
        let mut of_x = Destination::<T>::of(x);
        let mut of_weight = weight.and_then(Destination::<T>::of);
        let mut of_bias = bias.and_then(Destination::<T>::of);
        {
            let weight = weight.map(Elements::of).transpose()?;
            let weight = weight.as_ref().map(|weight| weight.slice::<T>()).transpose()?;
            let gradients = Gradients {
                x: op::place(&mut of_x),
                weight: op::place(&mut of_weight),
                bias: op::place(&mut of_bias),
                residual: None,
            };
            let (x, upstream) = (Elements::of(x)?, Elements::of(&upstream)?);
            self.sizes.backward(x.slice()?, weight, upstream.slice()?, found, gradients);
        }
        Ok([op::finish(of_x)?, op::finish(of_weight)?, op::finish(of_bias)?])
    }
}

impl CustomOp1 for Fused {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, layout), None, None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        _y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let [of_x, ..] = self.backward(x, None, None, upstream)?;
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
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), Some((second, second_layout)), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        second: &Tensor,
        _y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_second, _] = self.backward(x, Some(second), None, upstream)?;
        Ok((of_x, of_second))
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
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        self.run((x, x_layout), Some((weight, weight_layout)), Some((bias, bias_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight, of_bias] = self.backward(x, Some(weight), Some(bias), upstream)?;
        Ok((of_x, of_weight, of_bias))
    }
}
