//! What [`Conv2d`](crate::Conv2d) and [`ConvTranspose2d`](crate::ConvTranspose2d) share: the operation, its
//! composed twin, and the checks of their tensors.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Module, Shape, Tensor};
use taper_kernels::{Axis, Convolution, buffer};

use crate::op::{self, Destination, Elements, Scalar, by_dtype};
use crate::{Activation, Error, Result, Size2d};

/// From the images under the kernel to those of its places, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Transposed,
}

/// f(x ⋆ w + b), or f of the transposed convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvolutionOp {
    pub(crate) shape: Convolution,
    pub(crate) direction: Direction,
}

impl ConvolutionOp {
    /// In the dtype of the weight; half precision is computed in f32.
    pub(crate) fn forward(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let dtype = weight.dtype();
        if x.device().is_cpu() && matches!(dtype, DType::F16 | DType::BF16) {
            let wide = |tensor: &Tensor| tensor.to_dtype(DType::F32);
            let bias = bias.map(wide).transpose()?;
            return self
                .fused(&wide(x)?, &wide(weight)?, bias.as_ref(), activation)?
                .to_dtype(dtype);
        }
        if op::has_kernels(x) && op::has_kernels(weight) {
            self.fused(x, weight, bias, activation)
        } else {
            self.composed(x, weight, bias, activation)
        }
    }

    /// One operation for convolution, bias and activation.
    fn fused(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let (x, weight) = (x.contiguous()?, weight.contiguous()?);
        // What cannot be told from its output is applied to the output in an operation of its own.
        let kernel = activation.kernel();
        let inside = if kernel.invertible() { kernel } else { taper_kernels::Activation::Identity };
        let op = Fused { op: self, activation: inside };
        let y = match bias {
            Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, op)?,
            None => x.apply_op2(&weight, op)?,
        };
        if kernel.invertible() { Ok(y) } else { activation.forward(&y) }
    }

    /// The twin of [`fused`](Self::fused) in candle's operations: elements gathered into columns, or columns
    /// added into elements, and a product of matrices. candle's own convolutions take square strides only.
    pub(crate) fn composed(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> candle_core::Result<Tensor> {
        let y = match self.direction {
            Direction::Forward => self.gathered(x, weight)?,
            Direction::Transposed => self.scattered(x, weight)?,
        };
        let y = match bias {
            Some(bias) => y.broadcast_add(&bias.reshape((1, bias.elem_count(), 1, 1))?)?,
            None => y,
        };
        activation.composed(&y)
    }

    /// The kernel as matrices, one a group.
    fn matrices(self, weight: &Tensor) -> candle_core::Result<Tensor> {
        let outputs = self.shape.outputs / self.shape.groups;
        weight.reshape((1, self.shape.groups, outputs, ()))
    }

    fn gathered(self, x: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        let Convolution { batch, inputs, outputs, groups, height, width } = self.shape;
        let (rows, columns) = (Padded::of(height), Padded::of(width));
        let padded = x
            .pad_with_zeros(2, height.padding, rows.after)?
            .pad_with_zeros(3, width.padding, columns.after)?
            .reshape((batch, inputs, rows.length * columns.length))?;
        let places = height.output * width.output;
        let index = self.index(columns.length, x)?;
        let gathered = padded.index_select(&index, 2)?.reshape((batch, groups, (), places))?;
        let y = self.matrices(weight)?.broadcast_matmul(&gathered)?;
        y.reshape((batch, outputs, height.output, width.output))
    }

    fn scattered(self, g: &Tensor, weight: &Tensor) -> candle_core::Result<Tensor> {
        let Convolution { batch, inputs, groups, height, width, .. } = self.shape;
        let (rows, columns) = (Padded::of(height), Padded::of(width));
        let g = g.reshape((batch, groups, (), height.output * width.output))?;
        let spread = self.matrices(weight)?.t()?.contiguous()?.broadcast_matmul(&g)?;
        let index = self.index(columns.length, g.as_ref())?;
        let spread = spread.reshape((batch, inputs, index.elem_count()))?;
        let length = rows.length * columns.length;
        Tensor::zeros((batch, inputs, length), g.dtype(), g.device())?
            .index_add(&index, &spread, 2)?
            .reshape((batch, inputs, rows.length, columns.length))?
            .narrow(2, height.padding, height.input)?
            .narrow(3, width.padding, width.input)?
            .contiguous()
    }

    /// For each tap and place, in this order, the element of a padded plane.
    fn index(self, padded_width: usize, like: &Tensor) -> candle_core::Result<Tensor> {
        let (height, width) = (self.shape.height, self.shape.width);
        let at = |axis: Axis, output: usize, tap: usize| output * axis.stride + tap * axis.dilation;
        let mut index = Vec::new();
        for (down, along) in pairs(height.kernel, width.kernel) {
            for (row, column) in pairs(height.output, width.output) {
                let element = at(height, row, down) * padded_width + at(width, column, along);
                index.push(element as u32);
            }
        }
        Tensor::new(index, like.device())
    }
}

fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
}

/// An axis with zeros before and after, so that each tap of each place meets an element.
struct Padded {
    after: usize,
    length: usize,
}

impl Padded {
    fn of(axis: Axis) -> Self {
        let needed = (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
        let length = needed.max(axis.padding + axis.input);
        Self { after: length - axis.padding - axis.input, length }
    }
}

/// The tensors of a layer: `weight` of four dimensions, none of them 0, and a `bias` of `outputs`.
pub(crate) fn check_tensors(
    operation: &'static str,
    weight: &Tensor,
    shape: &'static str,
    bias: Option<&Tensor>,
    outputs: impl Fn(&[usize]) -> usize,
) -> Result<()> {
    if weight.rank() != 4 || weight.elem_count() == 0 {
        let expected = format!("{shape}, none of them 0");
        return Err(Error::argument(operation, "weight", expected, format!("{:?}", weight.dims())));
    }
    let outputs = outputs(weight.dims());
    if let Some(bias) = bias
        && (bias.dims() != [outputs] || bias.dtype() != weight.dtype())
    {
        return Err(Error::argument(
            operation,
            "bias",
            format!("{:?} of shape [{outputs}], as the weight has it", weight.dtype()),
            format!("{:?} of shape {:?}", bias.dtype(), bias.dims()),
        ));
    }
    Ok(())
}

/// Refuses a size of 0.
pub(crate) fn check_size(operation: &'static str, name: &str, size: Size2d) -> Result<()> {
    if size.height == 0 || size.width == 0 {
        let received = format!("{} and {}", size.height, size.width);
        return Err(Error::argument(operation, name, "at least 1 in each direction", received));
    }
    Ok(())
}

/// Refuses numbers of channels that `groups` does not divide.
pub(crate) fn check_groups(
    operation: &'static str,
    groups: usize,
    channels: &[(&str, usize)],
) -> Result<()> {
    for (name, channels) in channels {
        if *channels == 0 {
            return Err(Error::argument(operation, *name, "at least 1", channels));
        }
        if groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("at least 1 and a divisor of {name} ({channels})");
            return Err(Error::argument(operation, "groups", expected, groups));
        }
    }
    Ok(())
}

/// The sizes of x, (batch, channels, height, width) of the weight's dtype, none of them 0.
pub(crate) fn check_input(
    operation: &'static str,
    x: &Tensor,
    channels: usize,
    dtype: DType,
) -> Result<[usize; 4]> {
    let expected = format!(
        "{dtype:?} of shape (batch, {channels}, height, width), none of them 0 (an empty batch has no result)"
    );
    match *x.dims() {
        [batch, here, height, width]
            if here == channels && x.elem_count() > 0 && x.dtype() == dtype =>
        {
            Ok([batch, here, height, width])
        }
        ref dims => {
            let received = format!("{:?} of shape {dims:?}", x.dtype());
            Err(Error::argument(operation, "x", expected, received))
        }
    }
}

/// [`ConvolutionOp`] with an activation that its output tells.
struct Fused {
    op: ConvolutionOp,
    activation: taper_kernels::Activation,
}

/// x, w and perhaps b in the forward pass.
type Stored<'a> = (&'a CpuStorage, &'a Layout);

impl Fused {
    const NAME: &'static str = "convolution";

    fn run<T: Scalar>(
        &self,
        x: Stored<'_>,
        weight: Stored<'_>,
        bias: Option<Stored<'_>>,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let Convolution { batch, inputs, outputs, height, width, .. } = self.op.shape;
        let bias = bias.map(|(storage, layout)| op::elements::<T>(storage, layout)).transpose()?;
        let (x, weight) = (op::elements(x.0, x.1)?, op::elements(weight.0, weight.1)?);
        let shape = match self.op.direction {
            Direction::Forward => (batch, outputs, height.output, width.output),
            Direction::Transposed => (batch, inputs, height.input, width.input),
        };
        let shape = Shape::from(shape);
        let mut y = buffer::<T>(shape.elem_count());
        match self.op.direction {
            Direction::Forward => {
                self.op.shape.forward(x, weight, bias, self.activation, &mut y);
            }
            Direction::Transposed => {
                self.op.shape.transposed_forward(x, weight, bias, self.activation, &mut y);
            }
        }
        Ok((op::storage(y), shape))
    }

    fn pull<T: Scalar>(
        &self,
        [x, weight, y, upstream]: [&Tensor; 4],
        bias: Option<&Tensor>,
    ) -> candle_core::Result<[Option<Tensor>; 3]> {
        let upstream = upstream.contiguous()?;
        let (mut of_x, mut of_weight) = (Destination::<T>::of(x), Destination::of(weight));
        let mut of_bias = bias.and_then(Destination::of);
        let backward = match self.op.direction {
            Direction::Forward => Convolution::backward::<T>,
            Direction::Transposed => Convolution::transposed_backward::<T>,
        };
        backward(
            &self.op.shape,
            Elements::of(x)?.slice()?,
            Elements::of(weight)?.slice()?,
            Elements::of(y)?.slice()?,
            Elements::of(&upstream)?.slice()?,
            self.activation,
            op::place(&mut of_x),
            op::place(&mut of_weight),
            op::place(&mut of_bias),
        );
        Ok([op::finish(of_x)?, op::finish(of_weight)?, op::finish(of_bias)?])
    }
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        by_dtype!(Self::NAME, op::dtype(x), T => {
            self.run::<T>((x, x_layout), (weight, weight_layout), None)
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight, _] = by_dtype!(Self::NAME, x.dtype(), T => {
            self.pull::<T>([x, weight, y, upstream], None)
        })?;
        Ok((of_x, of_weight))
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        Self::NAME
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
        by_dtype!(Self::NAME, op::dtype(x), T => {
            self.run::<T>((x, x_layout), (weight, weight_layout), Some((bias, bias_layout)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        upstream: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [of_x, of_weight, of_bias] = by_dtype!(Self::NAME, x.dtype(), T => {
            self.pull::<T>([x, weight, y, upstream], Some(bias))
        })?;
        Ok((of_x, of_weight, of_bias))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::stream;
    use crate::testing::{assert_close, gradcheck};

    fn shapes() -> Vec<Convolution> {
        let axis = |input, kernel, stride, padding, dilation, after| {
            let covered: usize = dilation * (kernel - 1) + 1;
            let output = (input + padding + after - covered) / stride + 1;
            Axis { input, output, kernel, stride, padding, dilation }
        };
        let shape = |batch, groups, inputs, outputs, height, width| Convolution {
            batch,
            inputs,
            outputs,
            groups,
            height,
            width,
        };
        vec![
            shape(2, 1, 3, 4, axis(5, 3, 1, 1, 1, 1), axis(9, 3, 1, 1, 1, 1)),
            shape(3, 1, 2, 7, axis(9, 3, 2, 1, 1, 1), axis(16, 3, 2, 1, 1, 1)),
            shape(2, 1, 5, 3, axis(4, 1, 1, 0, 1, 0), axis(6, 1, 1, 0, 1, 0)),
            shape(2, 2, 4, 6, axis(7, 2, 3, 4, 2, 0), axis(5, 4, 1, 0, 1, 2)),
            shape(2, 3, 3, 3, axis(6, 3, 1, 1, 1, 1), axis(8, 3, 2, 1, 1, 1)),
        ]
    }

    /// x, w and b for a direction.
    fn tensors(shape: Convolution, direction: Direction) -> [Tensor; 3] {
        let Convolution { batch, inputs, outputs, groups, height, width } = shape;
        let mut noise = stream(1, "convolution");
        let mut normal = |shape: &[usize]| {
            noise.normal(0.0, 1.0, shape, DType::F64, &Device::Cpu).expect("noise")
        };
        let weight = normal(&[outputs, inputs / groups, height.kernel, width.kernel]);
        match direction {
            Direction::Forward => {
                let x = normal(&[batch, inputs, height.input, width.input]);
                [x, weight, normal(&[outputs])]
            }
            Direction::Transposed => {
                let x = normal(&[batch, outputs, height.output, width.output]);
                [x, weight, normal(&[inputs])]
            }
        }
    }

    #[test]
    fn the_twins_agree() -> Result<()> {
        let activations = [Activation::Relu, Activation::Sigmoid, Activation::Gelu];
        for direction in [Direction::Forward, Direction::Transposed] {
            for (shape, activation) in shapes().into_iter().zip(activations.into_iter().cycle()) {
                let op = ConvolutionOp { shape, direction };
                let vars =
                    tensors(shape, direction).map(|it| Var::from_tensor(&it).expect("a var"));
                let [x, weight, bias] = &vars;
                let fused = op.fused(x, weight, Some(bias), activation)?;
                let composed = op.composed(x, weight, Some(bias), activation)?;
                assert_close(&fused, &composed, 1e-13);
                let (fused, composed) =
                    (fused.sqr()?.sum_all()?.backward()?, composed.sqr()?.sum_all()?.backward()?);
                for var in &vars {
                    let [fused, composed] = [&fused, &composed].map(|it| it.get(var));
                    assert_close(fused.expect("fused"), composed.expect("composed"), 1e-12);
                }
                let (fused, composed) = (
                    op.fused(x, weight, None, Activation::Identity)?,
                    op.composed(x, weight, None, Activation::Identity)?,
                );
                assert_close(&fused, &composed, 1e-13);
            }
        }
        Ok(())
    }

    #[test]
    fn the_composed_twin_has_right_gradients() -> Result<()> {
        for direction in [Direction::Forward, Direction::Transposed] {
            let shape = shapes()[3];
            let op = ConvolutionOp { shape, direction };
            let twin =
                |x: &[Tensor]| Ok(op.composed(&x[0], &x[1], Some(&x[2]), Activation::Tanh)?);
            gradcheck(twin, &tensors(shape, direction), 1e-6)?;
        }
        Ok(())
    }
}
