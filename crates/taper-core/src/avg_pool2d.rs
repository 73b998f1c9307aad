//! Average pooling.

use candle_core::{Module, Tensor};
use taper_kernels::{AveragePool, PoolAxis, Update};

use crate::op::{Scalar, Values};
use crate::planes::{Images, PlaneKernel, Terms, Windows, product};
use crate::{Error, Result, Size2d};

/// How an [`AvgPool2d`] moves its window, and what it divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgPool2dConfig {
    /// How far the window moves; `None` is the window's own size.
    pub stride: Option<Size2d>,
    /// Rows above and below, and columns before and after the image, that are 0.
    pub padding: Size2d,
    /// Whether a last window counts that ends behind the padding.
    pub ceil_mode: bool,
    /// Whether the average is also over the padding.
    pub count_include_pad: bool,
    /// What sums are divided by, in place of the number of their terms.
    pub divisor_override: Option<usize>,
}

impl Default for AvgPool2dConfig {
    fn default() -> Self {
        Self {
            stride: None,
            padding: 0.into(),
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }
}

/// The mean of each window of an image, channel by channel.
///
/// # Equation
/// y_ij = Σ_{0 ≤ a, b < k} x_(i·s + a − p, j·s + b − p) / n_ij
///
/// with the kernel size k, the stride s and the padding p, each with a number for rows and one for columns.
/// Places outside the image add nothing. n_ij is the number of places that are in the image or, with
/// `count_include_pad`, in the padding.
///
/// # Shapes
/// x (N, C, H, W) to y (N, C, H′, W′), or (C, H, W) to (C, H′, W′), with H′ = ⌊(H + 2p − k) / s⌋ + 1, and W′
/// likewise. With `ceil_mode` the quotient is rounded up, but no window begins behind the image and the padding
/// before it.
///
/// # Parameters
/// - `kernel_size`: the window; at least 1.
///
/// Of [`AvgPool2dConfig`]:
/// - `stride`: the kernel size; at least 1.
/// - `padding`: 0; at most half of the kernel size.
/// - `ceil_mode`: false.
/// - `count_include_pad`: true.
/// - `divisor_override`: none; at least 1.
///
/// # Numerics
/// Sums are in the dtype of x, f16 and bf16 in f32, first down the columns, then along the rows; the result does
/// not depend on the number of threads. For means of whole images see [`AdaptiveAvgPool2d`](crate::AdaptiveAvgPool2d).
///
/// # Deviations
/// 1. From candle: any stride and padding, with gradients.
/// 2. From PyTorch: an empty batch is an error.
///
/// # Errors
/// [`AvgPool2d::new`] refuses sizes of 0, a padding of more than half of the window and a divisor of 0; `forward` an
/// x of another rank than 3 and 4, with a dimension of 0, too small for one window, or not floating-point.
///
/// # References
/// - `torch.nn.AvgPool2d`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.AvgPool2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{AvgPool2d, AvgPool2dConfig};
///
/// let x = Tensor::new(&[[[1.0, 3.0, 5.0, 7.0], [2.0, 2.0, 6.0, 6.0]]], &Device::Cpu)?;
/// let pool = AvgPool2d::new(2, AvgPool2dConfig::default())?;
/// assert_eq!(pool.forward(&x)?.to_vec3::<f64>()?, [[[2.0, 6.0]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgPool2d {
    windows: Windows,
    count_padding: bool,
    divisor: Option<usize>,
}

impl AvgPool2d {
    /// Pooling over windows of this size.
    pub fn new(kernel_size: impl Into<Size2d>, config: AvgPool2dConfig) -> Result<Self> {
        let AvgPool2dConfig { stride, padding, ceil_mode, count_include_pad, divisor_override } =
            config;
        if divisor_override == Some(0) {
            return Err(Error::argument("AvgPool2d::new", "divisor_override", "at least 1", 0));
        }
        let kernel_size = kernel_size.into();
        let stride = stride.unwrap_or(kernel_size);
        let windows = Windows { kernel_size, stride, padding, dilation: 1.into(), ceil_mode };
        Ok(Self {
            windows: windows.checked("AvgPool2d::new")?,
            count_padding: count_include_pad,
            divisor: divisor_override,
        })
    }

    /// The size of the window.
    pub fn kernel_size(&self) -> Size2d {
        self.windows.kernel_size
    }

    /// How the window moves and what it divides by; its stride is said.
    pub fn config(&self) -> AvgPool2dConfig {
        let Windows { stride, padding, ceil_mode, .. } = self.windows;
        AvgPool2dConfig {
            stride: Some(stride),
            padding,
            ceil_mode,
            count_include_pad: self.count_padding,
            divisor_override: self.divisor,
        }
    }

    fn kernel(&self, images: Images<'_>) -> Result<AveragePool> {
        let [rows, columns] = self.windows.over("AvgPool2d::forward", images)?;
        let (count_padding, divisor) = (self.count_padding, self.divisor);
        Ok(AveragePool { planes: images.planes, rows, columns, count_padding, divisor })
    }
}

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let images = Images::of("AvgPool2d::forward", x)?;
        let kernel = self.kernel(images)?;
        images.apply(
            kernel,
            |outputs| self.windows.work(outputs),
            |kernel, x| self.composed(*kernel, x),
        )
    }
}

impl PlaneKernel for AveragePool {
    const NAME: &'static str = "avg_pool2d";

    fn output(&self) -> (usize, usize) {
        (self.rows.output(), self.columns.output())
    }

    fn forward<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        AveragePool::forward(*self, x, y);
    }

    fn backward<T: Scalar>(&self, values: Values<'_, T>, gradient: &mut [T], update: Update) {
        AveragePool::backward(*self, values.upstream, gradient, update);
    }
}

impl AvgPool2d {
    /// The twin in candle's operations: a product with a matrix on each side.
    fn composed(&self, kernel: AveragePool, x: &Tensor) -> candle_core::Result<Tensor> {
        let Windows { kernel_size, stride, padding, .. } = self.windows;
        let terms = |axis: PoolAxis, size: usize, stride: usize, padding: usize| -> Terms {
            let window = |output| {
                let taps = axis.taps(output);
                // From the window's start to its end, or to that of the padding, which may come first.
                let padded = size.min(axis.input() + 2 * padding - output * stride);
                let count = match (self.divisor, self.count_padding) {
                    (Some(_), _) => 1,
                    (None, true) => padded,
                    (None, false) => taps.len(),
                };
                let weight = 1.0 / count as f64;
                taps.map(|tap| (axis.position(output, tap), weight)).collect()
            };
            (0..axis.output()).map(window).collect()
        };
        let rows = terms(kernel.rows, kernel_size.height, stride.height, padding.height);
        let columns = terms(kernel.columns, kernel_size.width, stride.width, padding.width);
        product(x, [rows, columns])? / self.divisor.unwrap_or(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::planes::tests::twins_agree;

    #[test]
    fn hand_numbers() -> Result<()> {
        let x = Var::new(&[[[1.0, 3.0, 5.0], [2.0, 2.0, 6.0]]], &Device::Cpu)?;
        let config = AvgPool2dConfig { stride: Some((1, 1).into()), ..Default::default() };
        let y = AvgPool2d::new((2, 2), config)?.forward(&x)?;
        assert_eq!(y.to_vec3::<f64>()?, [[[2.0, 4.0]]]);
        let gradients = y.backward()?;
        let gradient = gradients.get(&x).map(|g| g.to_vec3::<f64>()).transpose()?;
        assert_eq!(gradient, Some(vec![vec![vec![0.25, 0.5, 0.25]; 2]]));
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(
            shape in [1usize..4, 1usize..12, 1usize..70],
            (kernel, stride) in ((1usize..5, 1usize..6), (1usize..4, 1usize..5)),
            padding in (0usize..3, 0usize..3),
            (ceil_mode, count_include_pad) in (any::<bool>(), any::<bool>()),
            divisor_override in proptest::option::of(1usize..5),
            seed: u64,
        ) {
            let padding = (padding.0.min(kernel.0 / 2), padding.1.min(kernel.1 / 2)).into();
            let stride = Some(stride.into());
            let config =
                AvgPool2dConfig { stride, padding, ceil_mode, count_include_pad, divisor_override };
            let pool = AvgPool2d::new(kernel, config).unwrap();
            let x = Tensor::zeros(&shape, DType::F64, &Device::Cpu).unwrap();
            let Ok(kernel) = pool.kernel(Images::of("", &x).unwrap()) else {
                prop_assert!(pool.forward(&x).is_err());
                return Ok(());
            };
            twins_agree(&pool, |x| pool.composed(kernel, x), shape, seed);
        }
    }
}
