//! Max pooling.

use candle_core::{Module, Tensor};
use taper_kernels::{MaxPool, PoolAxis, Update};

use crate::op::{Scalar, Values};
use crate::planes::{Images, PlaneKernel, Windows};
use crate::{Result, Size2d};

/// How a [`MaxPool2d`] moves its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2dConfig {
    /// How far the window moves; `None` is the window's own size.
    pub stride: Option<Size2d>,
    /// Rows above and below, and columns before and after the image, that are −∞.
    pub padding: Size2d,
    /// How far the elements of the window are apart.
    pub dilation: Size2d,
    /// Whether a last window counts that ends behind the padding.
    pub ceil_mode: bool,
}

impl Default for MaxPool2dConfig {
    fn default() -> Self {
        Self { stride: None, padding: 0.into(), dilation: 1.into(), ceil_mode: false }
    }
}

/// The largest element of each window of an image, channel by channel.
///
/// # Equation
/// y_ij = max { x_(i·s + a·d − p, j·s + b·d − p) : 0 ≤ a, b < k }
///
/// with the kernel size k, the stride s, the dilation d and the padding p, each with a number for rows and one
/// for columns. Places outside the image do not count.
///
/// # Shapes
/// x (N, C, H, W) to y (N, C, H′, W′), or (C, H, W) to (C, H′, W′), with
/// H′ = ⌊(H + 2p − d (k − 1) − 1) / s⌋ + 1, and W′ likewise. With `ceil_mode` the quotient is rounded up, but no
/// window begins behind the image and the padding before it.
///
/// # Parameters
/// - `kernel_size`: the window; at least 1.
///
/// Of [`MaxPool2dConfig`]:
/// - `stride`: the kernel size; at least 1.
/// - `padding`: 0; at most half of the kernel size.
/// - `dilation`: 1; at least 1.
/// - `ceil_mode`: false.
///
/// # Numerics
/// Exact in every dtype. A window with a NaN gives NaN. The gradient of y goes to the first of equal largest
/// elements, row by row; if there are NaN, to the last of them. That element is found again in the backward
/// pass, so that nothing is kept besides x and y.
///
/// # Deviations
/// 1. From candle: any stride and padding, with gradients; candle's own divides the gradient between equal elements.
/// 2. From PyTorch: no `return_indices`; an empty batch is an error; a dilated window that sees nothing but padding
///    gives −∞ and sends its gradient nowhere.
///
/// # Errors
/// [`MaxPool2d::new`] refuses sizes of 0 and a padding of more than half of the window; `forward` an x of
/// another rank than 3 and 4, with a dimension of 0, too small for one window, or not floating-point.
///
/// # References
/// - `torch.nn.MaxPool2d`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.MaxPool2d.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{MaxPool2d, MaxPool2dConfig};
///
/// let x = Tensor::new(&[[[1.0, 5.0, 2.0], [3.0, 4.0, 9.0], [8.0, 6.0, 7.0]]], &Device::Cpu)?;
/// let pool = MaxPool2d::new(2, MaxPool2dConfig { stride: Some(1.into()), ..Default::default() })?;
/// assert_eq!(pool.forward(&x)?.to_vec3::<f64>()?, [[[5.0, 9.0], [8.0, 9.0]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    windows: Windows,
}

impl MaxPool2d {
    /// Pooling over windows of this size.
    pub fn new(kernel_size: impl Into<Size2d>, config: MaxPool2dConfig) -> Result<Self> {
        let MaxPool2dConfig { stride, padding, dilation, ceil_mode } = config;
        let kernel_size = kernel_size.into();
        let stride = stride.unwrap_or(kernel_size);
        let windows = Windows { kernel_size, stride, padding, dilation, ceil_mode };
        Ok(Self { windows: windows.checked("MaxPool2d::new")? })
    }

    /// The size of the window.
    pub fn kernel_size(&self) -> Size2d {
        self.windows.kernel_size
    }

    /// How the window moves; its stride is said.
    pub fn config(&self) -> MaxPool2dConfig {
        let Windows { stride, padding, dilation, ceil_mode, .. } = self.windows;
        MaxPool2dConfig { stride: Some(stride), padding, dilation, ceil_mode }
    }
}

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let images = Images::of("MaxPool2d::forward", x)?;
        let [rows, columns] = self.windows.over("MaxPool2d::forward", images)?;
        let kernel = MaxPool { planes: images.planes, rows, columns };
        images.apply(
            kernel,
            |outputs| self.windows.work(outputs),
            |_, x| composed([rows, columns], x),
        )
    }
}

impl PlaneKernel for MaxPool {
    const NAME: &'static str = "max_pool2d";

    fn output(&self) -> (usize, usize) {
        (self.rows.output(), self.columns.output())
    }

    fn forward<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        MaxPool::forward(*self, x, y);
    }

    fn backward<T: Scalar>(&self, values: Values<'_, T>, gradient: &mut [T], update: Update) {
        MaxPool::backward(
            *self,
            values.arguments[0],
            values.result,
            values.upstream,
            gradient,
            update,
        );
    }
}

/// The twin in candle's operations: finds where the largest elements are, and gathers them.
fn composed([rows, columns]: [PoolAxis; 2], x: &Tensor) -> candle_core::Result<Tensor> {
    let (planes, height, width) = x.dims3()?;
    let outputs = rows.output() * columns.output();
    // One more element stands for all places outside.
    let outside = Tensor::full(f64::NEG_INFINITY, (planes, 1), x.device())?.to_dtype(x.dtype())?;
    let x = Tensor::cat(&[&x.reshape((planes, height * width))?, &outside], 1)?;
    let values = x.detach();
    let index = |place: &dyn Fn(usize, usize) -> Option<usize>| -> candle_core::Result<Tensor> {
        let place = |output: usize| {
            let (row, column) = (output / columns.output(), output % columns.output());
            place(row, column).unwrap_or(height * width) as u32
        };
        Tensor::from_iter((0..outputs).map(place), x.device())
    };
    // The first element that is there, which stays where all are −∞.
    let mut best = index(&|row, column| {
        let (down, across) = (rows.taps(row).next()?, columns.taps(column).next()?);
        Some(rows.position(row, down) * width + columns.position(column, across))
    })?
    .broadcast_as((planes, outputs))?
    .contiguous()?;
    let mut most = values.gather(&best, 1)?;
    for (down, across) in
        (0..rows.window()).flat_map(|a| (0..columns.window()).map(move |b| (a, b)))
    {
        let index = index(&|row, column| {
            let there = rows.taps(row).contains(&down) && columns.taps(column).contains(&across);
            there.then(|| rows.position(row, down) * width + columns.position(column, across))
        })?;
        let here = values.index_select(&index, 1)?;
        // NaN is not equal to itself.
        let better = (here.gt(&most)? + here.ne(&here)?)?;
        most = better.where_cond(&here, &most)?;
        best = better.where_cond(&index.broadcast_as((planes, outputs))?.contiguous()?, &best)?;
    }
    x.gather(&best, 1)?.reshape((planes, rows.output(), columns.output()))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use proptest::prelude::*;

    use super::*;
    use crate::planes::tests::twins_agree;

    #[test]
    fn hand_numbers() -> Result<()> {
        let x = [[[1.0, 5.0, 2.0], [5.0, 4.0, 9.0], [8.0, 6.0, 7.0]]];
        let x = Var::new(&x, &Device::Cpu)?;
        let config = MaxPool2dConfig { stride: Some(1.into()), ..Default::default() };
        let y = MaxPool2d::new((2, 2), config)?.forward(&x)?;
        assert_eq!(y.to_vec3::<f64>()?, [[[5.0, 9.0], [8.0, 9.0]]]);
        let gradients = y.backward()?;
        let gradient = gradients.get(&x).map(|g| g.to_vec3::<f64>()).transpose()?;
        // The first five, not the one below it.
        assert_eq!(
            gradient,
            Some(vec![vec![vec![0.0, 1.0, 0.0], vec![0.0, 0.0, 2.0], vec![1.0, 0.0, 0.0]]])
        );
        Ok(())
    }

    #[test]
    fn the_twin_knows_nan_and_infinity() -> Result<()> {
        let (nan, low) = (f64::NAN, f64::NEG_INFINITY);
        let x = Var::new(&[[[nan, 1.0, nan, low, low]]], &Device::Cpu)?;
        let axis =
            |input, window, padding| PoolAxis::new(input, window, 1, padding, 1, false).unwrap();
        let y = composed([axis(1, 1, 0), axis(5, 3, 1)], &x)?;
        let values = y.flatten_all()?.to_vec1::<f64>()?;
        assert!(values[..4].iter().all(|y| y.is_nan()) && values[4] == low);
        let gradients = y.backward()?;
        let gradient = gradients.get(&x).unwrap().flatten_all()?.to_vec1::<f64>()?;
        assert_eq!(gradient, [1.0, 0.0, 3.0, 1.0, 0.0]);
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(
            shape in [1usize..4, 1usize..12, 1usize..70],
            (kernel, stride) in ((1usize..5, 1usize..6), (1usize..4, 1usize..5)),
            (padding, dilation) in ((0usize..3, 0usize..3), (1usize..3, 1usize..3)),
            ceil_mode: bool,
            seed: u64,
        ) {
            let padding = (padding.0.min(kernel.0 / 2), padding.1.min(kernel.1 / 2)).into();
            let (stride, dilation) = (Some(stride.into()), dilation.into());
            let config = MaxPool2dConfig { stride, padding, dilation, ceil_mode };
            let pool = MaxPool2d::new(kernel, config).unwrap();
            let x = Tensor::zeros(&shape, candle_core::DType::F64, &Device::Cpu).unwrap();
            let Ok(axes) = pool.windows.over("", Images::of("", &x).unwrap()) else {
                prop_assert!(pool.forward(&x).is_err());
                return Ok(());
            };
            twins_agree(&pool, |x| composed(axes, x), shape, seed);
        }
    }
}
