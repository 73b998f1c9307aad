//! Average pooling to a given size.

use candle_core::{Module, Tensor};
use taper_kernels::{AdaptiveAveragePool, Update};

use crate::op::{Field, Scalar, Values, Window, Work};
use crate::planes::{Images, PlaneKernel, Terms, product};
use crate::{Error, Result, Size2d};

/// The means of an image's parts, as many as are asked for, channel by channel; with one part, global average
/// pooling.
///
/// # Equation
/// y_ij is the mean of the x_hw with ⌊i H / H′⌋ ≤ h < ⌈(i + 1) H / H′⌉ and ⌊j W / W′⌋ ≤ w < ⌈(j + 1) W / W′⌉.
///
/// # Shapes
/// x (N, C, H, W) to y (N, C, H′, W′), or (C, H, W) to (C, H′, W′).
///
/// # Parameters
/// - `output_size`: H′ and W′, at least 1. One that is larger than the image's repeats elements.
///
/// # Numerics
/// Sums are in the dtype of x, f16 and bf16 in f32; those of more than a thousand neighbours go on in f64. The
/// result does not depend on the number of threads.
///
/// # Deviations
/// 1. From PyTorch: an empty batch is an error, and so is an output of no size; there is no `None` for the
///    size of the input.
///
/// # Errors
/// [`AdaptiveAvgPool2d::new`] refuses an output of no size; `forward` an x of another rank than 3 and 4, with a
/// dimension of 0, or not floating-point.
///
/// # References
/// - Lin, Chen and Yan 2014, Network in network (global average pooling), <https://arxiv.org/abs/1312.4400>.
/// - `torch.nn.AdaptiveAvgPool2d`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.AdaptiveAvgPool2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::AdaptiveAvgPool2d;
///
/// let x = Tensor::new(&[[[1.0, 3.0, 5.0], [2.0, 2.0, 5.0]]], &Device::Cpu)?;
/// let global = AdaptiveAvgPool2d::new(1)?.forward(&x)?;
/// assert_eq!(global.to_vec3::<f64>()?, [[[3.0]]]);
/// let halves = AdaptiveAvgPool2d::new((1, 2))?.forward(&x)?;
/// assert_eq!(halves.to_vec3::<f64>()?, [[[2.0, 3.75]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptiveAvgPool2d {
    output_size: Size2d,
}

impl AdaptiveAvgPool2d {
    /// Pooling to images of this size.
    pub fn new(output_size: impl Into<Size2d>) -> Result<Self> {
        let output_size = output_size.into();
        let Size2d { height, width } = output_size;
        if height == 0 || width == 0 {
            let received = format!("({height}, {width})");
            let operation = "AdaptiveAvgPool2d::new";
            return Err(Error::argument(operation, "output_size", "at least 1", received));
        }
        Ok(Self { output_size })
    }

    /// The rows and columns of the output.
    pub fn output_size(&self) -> Size2d {
        self.output_size
    }
}

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let images = Images::of("AdaptiveAvgPool2d::forward", x)?;
        let kernel = AdaptiveAveragePool {
            planes: images.planes,
            input: (images.height, images.width),
            output: (self.output_size.height, self.output_size.width),
        };
        images.apply(kernel, |_| work(&kernel), |kernel, x| composed(kernel.output, x))
    }
}

impl PlaneKernel for AdaptiveAveragePool {
    const NAME: &'static str = "adaptive_avg_pool2d";

    fn output(&self) -> (usize, usize) {
        self.output
    }

    fn forward<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        AdaptiveAveragePool::forward(*self, x, y);
    }

    fn backward<T: Scalar>(&self, values: Values<'_, T>, gradient: &mut [T], update: Update) {
        AdaptiveAveragePool::backward(*self, values.upstream, gradient, update);
    }
}

/// An addition for each element of x, whatever the windows.
fn work(kernel: &AdaptiveAveragePool) -> Work {
    let AdaptiveAveragePool { planes, input, output } = *kernel;
    let window = |input: usize, output: usize| {
        let kernel = input / output;
        let even = input.is_multiple_of(output);
        even.then_some(Window { kernel, stride: kernel, dilation: 1, padding: 0 })
    };
    let field = match (window(input.0, output.0), window(input.1, output.1)) {
        (Some(rows), Some(columns)) if output != (1, 1) => Field::Window([rows, columns]),
        _ => Field::Whole,
    };
    Work { field, ..Work::of_elements(planes * input.0 * input.1, 1) }
}

/// The twin in candle's operations: a product with a matrix on each side.
fn composed((out_height, out_width): (usize, usize), x: &Tensor) -> candle_core::Result<Tensor> {
    let (_, height, width) = x.dims3()?;
    let terms = |inputs: usize, outputs: usize| -> Terms {
        let mean = |output: usize| {
            let (start, end) =
                (output * inputs / outputs, ((output + 1) * inputs).div_ceil(outputs));
            (start..end).map(|input| (input, 1.0 / (end - start) as f64)).collect()
        };
        (0..outputs).map(mean).collect()
    };
    product(x, [terms(height, out_height), terms(width, out_width)])
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::planes::tests::twins_agree;

    #[test]
    fn hand_numbers() -> Result<()> {
        let x = Var::new(&[[[1.0, 3.0, 5.0], [2.0, 2.0, 5.0]]], &Device::Cpu)?;
        let y = AdaptiveAvgPool2d::new((1, 2))?.forward(&x)?;
        assert_eq!(y.to_vec3::<f64>()?, [[[2.0, 3.75]]]);
        let gradients = y.backward()?;
        let gradient = gradients.get(&x).map(|g| g.to_vec3::<f64>()).transpose()?;
        assert_eq!(gradient, Some(vec![vec![vec![0.25, 0.5, 0.25]; 2]]));
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(
            shape in [1usize..4, 1usize..12, 1usize..70],
            output in (1usize..6, 1usize..40),
            global: bool,
            seed: u64,
        ) {
            let output = if global { (1, 1) } else { output };
            let pool = AdaptiveAvgPool2d::new(output).unwrap();
            twins_agree(&pool, |x| composed(output, x), shape, seed);
        }
    }
}
