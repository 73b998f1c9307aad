//! What [`Conv2d`](crate::Conv2d) and [`ConvTranspose2d`](crate::ConvTranspose2d) share: the operation, its
//! composed twin, and the checks of their tensors.

use candle_core::{DType, Module, Shape, Tensor};
use taper_kernels::{Axis, Convolution, buffer};

use crate::op::{self, Destination, Field, Operation, Scalar, Values, Window, Work};
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

    /// The shape of the result.
    fn result(self) -> [usize; 4] {
        let Convolution { batch, inputs, outputs, height, width, .. } = self.shape;
        match self.direction {
            Direction::Forward => [batch, outputs, height.output, width.output],
            Direction::Transposed => [batch, inputs, height.input, width.input],
        }
    }

    /// What one place of the result sees.
    fn field(self) -> Field {
        let window = |axis: Axis| {
            let Axis { kernel, stride, padding, dilation, .. } = axis;
            match self.direction {
                Direction::Forward => Some(Window { kernel, stride, dilation, padding }),
                // Without a stride it is a convolution by the kernel turned round.
                Direction::Transposed => {
                    let padding = (dilation * (kernel - 1)).checked_sub(padding)?;
                    (stride == 1).then_some(Window { kernel, stride, dilation, padding })
                }
            }
        };
        match (window(self.shape.height), window(self.shape.width)) {
            (Some(rows), Some(columns)) => Field::Window([rows, columns]),
            _ => Field::Whole,
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
        let (activation, rest) = activation.fused();
        let arguments: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        let y = op::apply(Fused { op: self, activation }, &arguments, &self.result()[..])?;
        rest.forward(&y)
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

impl Operation for Fused {
    const NAME: &'static str = "convolution";

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(self.op.result().iter().product());
        let run = match self.op.direction {
            Direction::Forward => Convolution::forward::<T>,
            Direction::Transposed => Convolution::transposed_forward::<T>,
        };
        let bias = arguments.get(2).copied();
        run(&self.op.shape, arguments[0], arguments[1], bias, self.activation, &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let Values { arguments, result, upstream } = values;
        let [of_x, of_weight, of_bias] = op::places(gradients);
        let run = match self.op.direction {
            Direction::Forward => Convolution::backward::<T>,
            Direction::Transposed => Convolution::transposed_backward::<T>,
        };
        run(
            &self.op.shape,
            arguments[0],
            arguments[1],
            result,
            upstream,
            self.activation,
            of_x,
            of_weight,
            of_bias,
        );
        Ok(())
    }

    fn work(&self, arguments: &[&Shape]) -> Work {
        let Convolution { batch, inputs, outputs, groups, height, width } = self.op.shape;
        // Every tap of every place under the kernel, in either direction.
        let places = batch * height.output * width.output;
        let taps = inputs / groups * height.kernel * width.kernel;
        let macs = (places * outputs * taps) as u64;
        let elements = self.op.result().iter().product();
        let bias = Work::of_elements(elements, u64::from(arguments.len() > 2));
        let field = self.op.field();
        Work { macs, flops: 2 * macs + bias.flops, field, ..bias }
            .activated(elements, self.activation)
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
