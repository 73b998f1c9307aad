//! The structural similarity of images as a loss.

use candle_core::{DType, Device, Module, Tensor};
use taper_core::{Conv2d, Conv2dConfig, Error, Result};

use crate::LossOptions;
use crate::arguments::{precision, target_like};
use crate::elements::Elements;

const OPERATION: &str = "ssim";

/// The options of [`ssim`].
#[derive(Debug, Clone)]
pub struct SsimOptions {
    /// The difference between the largest and the smallest number that a pixel can be: L, above 0.
    pub data_range: f64,
    /// The pixels along each side of the Gaussian window, at least 1.
    pub window_size: usize,
    /// The standard deviation of the window, in pixels: above 0.
    pub sigma: f64,
    /// K₁, above 0.
    pub k1: f64,
    /// K₂, above 0.
    pub k2: f64,
    /// Whether there is a loss for each channel of an image, rather than one for the image.
    pub per_channel: bool,
    /// What every loss has; the elements are the images, or their channels.
    pub loss: LossOptions,
}

impl Default for SsimOptions {
    fn default() -> Self {
        Self {
            data_range: 1.0,
            window_size: 11,
            sigma: 1.5,
            k1: 0.01,
            k2: 0.03,
            per_channel: false,
            loss: LossOptions::default(),
        }
    }
}

/// One minus the structural similarity: how far images differ in local brightness, contrast and structure.
///
/// # Equation
/// lₙ = 1 − mean of (2 μₓ μᵧ + C₁) (2 σₓᵧ + C₂) / ((μₓ² + μᵧ² + C₁) (σₓ² + σᵧ² + C₂))
///
/// over the channels and the places of the window in image n, with C₁ = (K₁ L)² and C₂ = (K₂ L)². μ, σ² and σₓᵧ are
/// the means, variances and covariance of input x and target y under the window, whose weights are Gaussian and sum to
/// 1. Reduced as [`Reduction`](crate::Reduction) says.
///
/// # Shapes
/// Input and target (N, C, H, W), in one unit, H and W at least the window; the losses (N), or (N, C) with
/// `per_channel`, from 0 to 2, without a unit; the value (), or the losses with
/// [`Reduction::None`](crate::Reduction::None).
///
/// # Parameters
/// Of [`SsimOptions`]:
/// - `data_range`: 1, in the input's unit, for pixels from 0 to 1; above 0 and finite. 255 for bytes.
/// - `window_size`: 11; at least 1.
/// - `sigma`: 1.5 pixels; above 0 and finite.
/// - `k1`, `k2`: 0.01 and 0.03; above 0 and finite.
/// - `per_channel`: false.
/// - `loss`: [`LossOptions`]; `sample_weights` (N) weigh the images.
///
/// # Numerics
/// The window is applied as a row and a column. It lies inside of the image only. Variances are means of squares less
/// squares of means, of numbers from which the mean of the target's channel is taken: a bright image keeps its precision.
/// f64 stays f64; f32, bf16 and f16 are computed and returned in f32. The gradient where input and target are equal is
/// 0 up to rounding.
///
/// # Deviations
/// 1. From Wang et al.: the variances are those of the weights, as in their code, without n / (n − 1); images are not
///    shrunk first.
/// 2. From pytorch-msssim: an image smaller than the window is an error, not left unfiltered with a warning.
/// 3. From pytorch-msssim: L is 1 by default, not 255; the window may have an even size.
/// 4. From scikit-image and torchmetrics: no padding, so the mean is over the places of the whole window only.
///
/// # Errors
/// An input that is not (N, C, H, W) with at least one channel, or smaller than the window; input and target of different
/// shapes or dtypes or not floating-point; a parameter out of its range; weights and a mask that do not fit, a weight
/// that is negative or not finite; nothing to average, unless `empty` says otherwise.
///
/// # References
/// - Wang, Bovik, Sheikh and Simoncelli 2004, Image quality assessment: from error visibility to structural similarity,
///   IEEE Transactions on Image Processing 13(4), <https://doi.org/10.1109/TIP.2003.819861>.
/// - `pytorch_msssim.ssim`, <https://github.com/VainF/pytorch-msssim>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{SsimOptions, ssim};
///
/// // Plain images of 1/2 and 1/4 have no structure: only the brightness differs.
/// let input = Tensor::full(0.5, (1, 1, 11, 11), &Device::Cpu)?;
/// let loss = ssim(&input, &(&input * 0.5)?, &SsimOptions::default())?;
/// let c1 = 0.01f64.powi(2);
/// let by_hand = 1.0 - (2.0 * 0.125 + c1) / (0.25 + 0.0625 + c1);
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn ssim(input: &Tensor, target: &Tensor, options: &SsimOptions) -> Result<Tensor> {
    options.check()?;
    let dtype = precision(OPERATION, "input", input)?;
    let target = target_like(OPERATION, target, "input", input)?;
    let (images, channels, height, width) = options.dims(input)?;
    let shape = if options.per_channel { vec![images, channels] } else { vec![images] };
    let elements = Elements::new(OPERATION, "input", shape, &options.loss)?;
    let planes = (images * channels, 1, height, width);
    let plane = |x: &Tensor| Ok::<_, Error>(elements.hide(x)?.reshape(planes)?);
    let (x, y) = (plane(&input.to_dtype(dtype)?)?, plane(&target)?);
    let similarity = if images == 0 { x.flatten_all()? } else { options.similarity(&x, &y)? };
    let similarity = similarity.reshape((images, channels))?;
    let similarity = if options.per_channel { similarity } else { similarity.mean(1)? };
    elements.reduce_losses(similarity.affine(-1.0, 1.0)?, None)
}

impl SsimOptions {
    fn check(&self) -> Result<()> {
        let numbers = [
            ("data_range", self.data_range),
            ("sigma", self.sigma),
            ("k1", self.k1),
            ("k2", self.k2),
        ];
        for (name, value) in numbers {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::argument(OPERATION, name, "above 0 and finite", value));
            }
        }
        if self.window_size == 0 {
            return Err(Error::argument(OPERATION, "window_size", "at least 1", 0));
        }
        Ok(())
    }

    fn dims(&self, input: &Tensor) -> Result<(usize, usize, usize, usize)> {
        let size = self.window_size;
        match *input.dims() {
            [images, channels, height, width]
                if channels > 0 && height >= size && width >= size =>
            {
                Ok((images, channels, height, width))
            }
            _ => {
                let expected = format!(
                    "(N, C, H, W) with at least one channel and H and W at least the window's {size}"
                );
                let received = format!("{:?}", input.dims());
                Err(Error::argument(OPERATION, "input", expected, received))
            }
        }
    }

    /// The mean similarity of each plane of (planes, 1, H, W).
    fn similarity(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let level = y.flatten_from(1)?.mean(1)?.reshape(((), 1, 1, 1))?;
        let (near_x, near_y) = (x.broadcast_sub(&level)?, y.broadcast_sub(&level)?);
        let window = Window::new(self, x.dtype(), x.device())?;
        let (of_x, of_y) = (window.mean(&near_x)?, window.mean(&near_y)?);
        let spread = |a: &Tensor, b: &Tensor, of_a: &Tensor, of_b: &Tensor| {
            Ok::<_, Error>((window.mean(&(a * b)?)? - (of_a * of_b)?)?)
        };
        let variances =
            (spread(&near_x, &near_x, &of_x, &of_x)? + spread(&near_y, &near_y, &of_y, &of_y)?)?;
        let covariance = spread(&near_x, &near_y, &of_x, &of_y)?;
        let (of_x, of_y) = (of_x.broadcast_add(&level)?, of_y.broadcast_add(&level)?);
        let [c1, c2] = [self.k1, self.k2].map(|k| (k * self.data_range).powi(2));
        let brightness = (((&of_x * &of_y)? * 2.0)? + c1)?;
        let brightness = (brightness / ((of_x.sqr()? + of_y.sqr()?)? + c1)?)?;
        let structure = (((covariance * 2.0)? + c2)? / (variances + c2)?)?;
        Ok((brightness * structure)?.flatten_from(1)?.mean(1)?)
    }
}

/// The Gaussian window as a column and a row.
struct Window {
    column: Conv2d,
    row: Conv2d,
}

impl Window {
    fn new(options: &SsimOptions, dtype: DType, device: &Device) -> Result<Self> {
        let size = options.window_size;
        let middle = (size as f64 - 1.0) / 2.0;
        // By the distance beyond that of the nearest, so that a narrow window of an even size has weights, too.
        let nearest = ((size / 2) as f64 - middle).powi(2);
        let weight = |at: usize| {
            let beyond = (at as f64 - middle).powi(2) - nearest;
            (-beyond / (2.0 * options.sigma.powi(2))).exp()
        };
        let weights: Vec<f64> = (0..size).map(weight).collect();
        let total: f64 = weights.iter().sum();
        let weights: Vec<f64> = weights.into_iter().map(|weight| weight / total).collect();
        let weights = Tensor::new(weights, device)?.to_dtype(dtype)?;
        let along = |shape: (usize, usize, usize, usize)| {
            Conv2d::new(weights.reshape(shape)?, None, Conv2dConfig::default())
        };
        Ok(Self { column: along((1, 1, size, 1))?, row: along((1, 1, 1, size))? })
    }

    /// The mean under the window at each of its places.
    fn mean(&self, planes: &Tensor) -> Result<Tensor> {
        Ok(self.row.forward(&self.column.forward(planes)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_structure_of_one_brightness_by_hand() -> Result<()> {
        // One window of weights 1/4: means 0, variances 1, covariance −1.
        let x = Tensor::new(&[[[[1.0, -1.0], [-1.0, 1.0]]]], &Device::Cpu)?;
        let options = SsimOptions { window_size: 2, ..Default::default() };
        let loss = ssim(&x, &x.neg()?, &options)?.to_scalar::<f64>()?;
        let c2 = 0.03f64.powi(2);
        assert!((loss - (1.0 - (c2 - 2.0) / (c2 + 2.0))).abs() < 1e-14);
        Ok(())
    }
}
