//! What the layers that treat each plane (height, width) of a batch of images by itself have in common.

use candle_core::{DType, Device, Shape, Tensor};
use taper_kernels::{PoolAxis, Update, buffer};

use crate::op::{self, Destination, Field, Operation, Scalar, Values, Window, Work};
use crate::{Error, Result, Size2d};

/// A kernel from planes to planes, made for the sizes of one input.
pub(crate) trait PlaneKernel: Send + Sync {
    /// The operation's name in messages.
    const NAME: &'static str;

    /// The rows and columns of the output.
    fn output(&self) -> (usize, usize);

    /// y of x.
    fn forward<T: Scalar>(&self, x: &[T], y: &mut [T]);

    /// The gradient of x.
    fn backward<T: Scalar>(&self, values: Values<'_, T>, gradient: &mut [T], update: Update);
}

/// A checked input: (planes..., height, width), of rank 3 or 4 and not empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images<'a> {
    x: &'a Tensor,
    /// Images times channels.
    pub(crate) planes: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Columns.
    pub(crate) width: usize,
}

impl<'a> Images<'a> {
    pub(crate) fn of(operation: &'static str, x: &'a Tensor) -> Result<Self> {
        if !x.dtype().is_float() {
            let received = format!("{:?}", x.dtype());
            return Err(Error::argument(operation, "x", "floating-point", received));
        }
        let (planes, height, width) = match *x.dims() {
            [channels, height, width] => (channels, height, width),
            [images, channels, height, width] => (images * channels, height, width),
            _ => {
                let expected = "(images, channels, height, width) or (channels, height, width)";
                let received = format!("{:?}", x.dims());
                return Err(Error::argument(operation, "x", expected, received));
            }
        };
        if [planes, height, width].contains(&0) {
            let received = format!("{:?}", x.dims());
            return Err(Error::argument(operation, "x", "without a dimension of 0", received));
        }
        Ok(Self { x, planes, height, width })
    }

    /// The kernel's output, or where there is no kernel that of its twin, which takes and gives tensors of
    /// shape (planes, height, width). Half precision is widened to f32 before and narrowed again after. `work` tells
    /// what an output of so many elements costs.
    pub(crate) fn apply<K: PlaneKernel + 'static>(
        self,
        kernel: K,
        work: impl FnOnce(usize) -> Work,
        composed: impl FnOnce(&K, &Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<Tensor> {
        let dtype = self.x.dtype();
        let wide = if matches!(dtype, DType::F16 | DType::BF16) {
            self.x.to_dtype(DType::F32)?
        } else {
            self.x.clone()
        };
        let shape = replaced(self.x.dims(), kernel.output());
        let y = if op::has_kernels(&wide) {
            let length = shape.iter().product();
            let work = work(length);
            op::apply(OverPlanes { kernel, length, work }, &[&wide], shape)?
        } else {
            composed(&kernel, &wide.reshape((self.planes, self.height, self.width))?)?
                .reshape(shape)?
        };
        y.to_dtype(dtype)
    }
}

/// A shape with other rows and columns.
fn replaced(dims: &[usize], (height, width): (usize, usize)) -> Vec<usize> {
    let leading = &dims[..dims.len().saturating_sub(2)];
    [leading, &[height, width]].concat()
}

/// The operation of a kernel, whose output has this many elements.
struct OverPlanes<K> {
    kernel: K,
    length: usize,
    work: Work,
}

impl<K: PlaneKernel + 'static> Operation for OverPlanes<K> {
    const NAME: &'static str = K::NAME;

    fn forward<T: Scalar>(&self, arguments: &[&[T]]) -> candle_core::Result<Vec<T>> {
        let mut y = buffer(self.length);
        self.kernel.forward(arguments[0], &mut y);
        Ok(y)
    }

    fn backward<T: Scalar>(
        &self,
        values: Values<'_, T>,
        gradients: &mut [Destination<T>],
    ) -> candle_core::Result<()> {
        let [of_x] = op::places(gradients);
        if let Some((gradient, update)) = of_x {
            self.kernel.backward(values, gradient, update);
        }
        Ok(())
    }

    fn work(&self, _: &[&Shape]) -> Work {
        self.work
    }
}

/// The windows of a pooling layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) kernel_size: Size2d,
    pub(crate) stride: Size2d,
    pub(crate) padding: Size2d,
    pub(crate) dilation: Size2d,
    pub(crate) ceil_mode: bool,
}

impl Windows {
    /// Refuses sizes of 0, and padding of which a window could see nothing else.
    pub(crate) fn checked(self, operation: &'static str) -> Result<Self> {
        let Self { kernel_size, stride, padding, dilation, .. } = self;
        let sizes = [("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)];
        for (argument, Size2d { height, width }) in sizes {
            if height == 0 || width == 0 {
                let received = format!("({height}, {width})");
                return Err(Error::argument(operation, argument, "at least 1", received));
            }
        }
        if padding.height > kernel_size.height / 2 || padding.width > kernel_size.width / 2 {
            let Size2d { height, width } = kernel_size;
            let expected = format!("at most half of the kernel size ({height}, {width})");
            let received = format!("({}, {})", padding.height, padding.width);
            return Err(Error::argument(operation, "padding", expected, received));
        }
        Ok(self)
    }

    /// What an output of so many elements costs.
    pub(crate) fn work(self, outputs: usize) -> Work {
        let Self { kernel_size: k, stride: s, padding: p, dilation: d, .. } = self;
        let window =
            |kernel, stride, dilation, padding| Window { kernel, stride, dilation, padding };
        let rows = window(k.height, s.height, d.height, p.height);
        let columns = window(k.width, s.width, d.width, p.width);
        let places = (k.height * k.width) as u64;
        Work { field: Field::Window([rows, columns]), ..Work::of_elements(outputs, places) }
    }

    /// The windows over these images, down the columns and along the rows.
    pub(crate) fn over(self, operation: &'static str, images: Images<'_>) -> Result<[PoolAxis; 2]> {
        let Self { kernel_size, stride, padding, dilation, ceil_mode } = self;
        let Images { height, width, .. } = images;
        let axis = PoolAxis::new;
        let (k, s, p, d) = (kernel_size, stride, padding, dilation);
        let rows = axis(height, k.height, s.height, p.height, d.height, ceil_mode);
        let columns = axis(width, k.width, s.width, p.width, d.width, ceil_mode);
        match (rows, columns) {
            (Some(rows), Some(columns)) => Ok([rows, columns]),
            _ => Err(Error::argument(
                operation,
                "x",
                format!(
                    "an image that with a padding of ({}, {}) holds one window of ({}, {}) with a dilation \
                     of ({}, {})",
                    p.height, p.width, k.height, k.width, d.height, d.width
                ),
                format!("({height}, {width})"),
            )),
        }
    }
}

/// A small matrix along one axis: for each output its (input, weight) terms.
pub(crate) type Terms = Vec<Vec<(usize, f64)>>;

/// R X Cᵀ for each plane X of x (planes, height, width), R and C in `terms`: what averages and interpolates,
/// in candle's operations. An infinite element makes NaN where its weight is 0.
pub(crate) fn product(x: &Tensor, [rows, columns]: [Terms; 2]) -> candle_core::Result<Tensor> {
    let (planes, height, width) = x.dims3()?;
    let (out_height, out_width) = (rows.len(), columns.len());
    let across = matrix(&columns, width, x.dtype(), x.device())?;
    let down = matrix(&rows, height, x.dtype(), x.device())?;
    // Matrices of rank 2: a batched product is a loop in candle.
    x.reshape((planes * height, width))?
        .matmul(&across)?
        .reshape((planes, height, out_width))?
        .transpose(1, 2)?
        .reshape((planes * out_width, height))?
        .matmul(&down)?
        .reshape((planes, out_width, out_height))?
        .transpose(1, 2)
}

/// The transposed matrix of `terms`, (inputs, outputs).
fn matrix(
    terms: &Terms,
    inputs: usize,
    dtype: DType,
    device: &Device,
) -> candle_core::Result<Tensor> {
    let outputs = terms.len();
    let mut matrix = vec![0.0; inputs * outputs];
    for (output, terms) in terms.iter().enumerate() {
        for (input, weight) in terms {
            matrix[input * outputs + output] += weight;
        }
    }
    Tensor::from_vec(matrix, (inputs, outputs), device)?.to_dtype(dtype)
}

#[cfg(test)]
pub(crate) mod tests {
    use candle_core::{Module, Var};

    use super::*;
    use crate::stream;

    /// Asserts that a layer and its twin agree, values and gradients, in f64 and f32, on an x of this shape.
    pub(crate) fn twins_agree(
        layer: &impl Module,
        twin: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
        shape: [usize; 3],
        seed: u64,
    ) {
        for (dtype, tolerance) in [(DType::F64, 1e-13), (DType::F32, 1e-5)] {
            let normal = |name, shape: &[usize]| {
                stream(seed, name).normal(0.0, 1.0, shape, dtype, &Device::Cpu).unwrap()
            };
            // Quarters, so that elements are equal here and there.
            let x = ((normal("x", &shape) * 4.0).unwrap().round().unwrap() / 4.0).unwrap();
            let x = Var::from_tensor(&x).unwrap();
            let run = |y: Tensor| {
                let upstream = normal("upstream", y.dims());
                let loss = (&y * upstream).unwrap().sum_all().unwrap();
                let gradients = loss.backward().unwrap();
                (y, gradients.get(&x).unwrap().clone())
            };
            let (y, gradient) = run(layer.forward(&x).unwrap());
            let (twin_y, twin_gradient) = run(twin(&x).unwrap());
            for (ours, twin) in [(y, twin_y), (gradient, twin_gradient)] {
                assert_eq!(ours.dims(), twin.dims());
                // Elements are about 1, and a sum of them may cancel.
                let elements = |tensor: Tensor| {
                    tensor
                        .to_dtype(DType::F64)
                        .unwrap()
                        .flatten_all()
                        .unwrap()
                        .to_vec1::<f64>()
                        .unwrap()
                };
                for (ours, twin) in elements(ours).into_iter().zip(elements(twin)) {
                    let close = (ours - twin).abs() <= tolerance * twin.abs().max(1.0);
                    // A window of padding alone is −∞ on both sides.
                    assert!(close || ours == twin, "{ours} {twin}");
                }
            }
        }
    }
}
