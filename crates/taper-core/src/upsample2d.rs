//! Resampling images.

use candle_core::{Module, Tensor};
use serde::{Deserialize, Serialize};
use taper_kernels::{Update, Upsample, UpsampleAxis};

use crate::op::{Field, Scalar, Values, Work};
use crate::planes::{Images, PlaneKernel, Terms, product};
use crate::{Error, Result, Size2d};

/// What an [`Upsample2d`] makes of the size of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UpsampleTo {
    /// This size.
    Size(Size2d),
    /// ⌊H · scale⌋ rows and ⌊W · scale⌋ columns; a scale for rows and one for columns.
    Scale(f64, f64),
}

/// How an [`Upsample2d`] finds values between those of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum UpsampleMode {
    /// The nearest, towards the upper left.
    #[default]
    Nearest,
    /// Linear along rows and columns between pixels, whose centres are at ½, 1½ and so on; or, with the corners
    /// aligned, so that the first and last pixels of both images are at the same places.
    Bilinear {
        /// Whether the corners are aligned.
        align_corners: bool,
    },
}

/// An image of another size, channel by channel.
///
/// # Equation
/// y_ij = Σ_hw R_ih C_jw x_hw, where the rows of R and C choose one element or weigh two neighbours: for output o of
/// an axis of H inputs and H′ outputs, with the scale s = H′ / H or the given one,
/// - `Nearest`: the element ⌊o / s⌋
/// - `Bilinear { align_corners: false }`: those around max((o + ½) / s − ½, 0)
/// - `Bilinear { align_corners: true }`: those around o (H − 1) / (H′ − 1)
///
/// # Shapes
/// x (N, C, H, W) to y (N, C, H′, W′), or (C, H, W) to (C, H′, W′).
///
/// # Parameters
/// - `to`: [`UpsampleTo::Size`], at least 1; or [`UpsampleTo::Scale`], finite and above 0.
/// - `mode`: [`UpsampleMode::Nearest`].
///
/// # Numerics
/// Places and weights are found in f64, sums are in the dtype of x, f16 and bf16 in f32. Nearest values are exact.
/// NaN and infinities spread to the outputs that they have a weight in. The result does not depend on the number
/// of threads.
///
/// # Deviations
/// 1. From candle: any sizes, with gradients, which add up where an image is used twice.
/// 2. From PyTorch: places are not rounded to single precision, which with some sizes chooses another nearest
///    element, and moves bilinear weights by some 1e-7 of the image's size; a weight of 0 lets no infinity through
///    as NaN; an empty batch is an error.
///
/// # Errors
/// [`Upsample2d::new`] refuses sizes of 0, and scales that are not finite or not above 0; `forward` an x of another
/// rank than 3 and 4, with a dimension of 0, not floating-point, or of which a scale leaves nothing.
///
/// # References
/// - `torch.nn.Upsample`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.Upsample.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_core::{Upsample2d, UpsampleMode, UpsampleTo};
///
/// let x = Tensor::new(&[[[1.0, 2.0]]], &Device::Cpu)?;
/// let nearest = Upsample2d::new(UpsampleTo::Scale(2.0, 2.0), UpsampleMode::Nearest)?;
/// assert_eq!(nearest.forward(&x)?.to_vec3::<f64>()?, [[[1.0, 1.0, 2.0, 2.0]; 2]]);
/// let bilinear = UpsampleMode::Bilinear { align_corners: false };
/// let bilinear = Upsample2d::new(UpsampleTo::Size((1, 4).into()), bilinear)?;
/// assert_eq!(bilinear.forward(&x)?.to_vec3::<f64>()?, [[[1.0, 1.25, 1.75, 2.0]]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Upsample2d {
    to: UpsampleTo,
    mode: UpsampleMode,
}

impl Upsample2d {
    /// Resampling to this size or scale.
    pub fn new(to: UpsampleTo, mode: UpsampleMode) -> Result<Self> {
        match to {
            UpsampleTo::Size(Size2d { height, width }) if height == 0 || width == 0 => {
                let received = format!("({height}, {width})");
                Err(Error::argument("Upsample2d::new", "to", "at least 1", received))
            }
            UpsampleTo::Scale(down, across)
                if [down, across].iter().any(|scale| !scale.is_finite() || *scale <= 0.0) =>
            {
                let received = format!("({down}, {across})");
                Err(Error::argument("Upsample2d::new", "to", "a finite scale above 0", received))
            }
            _ => Ok(Self { to, mode }),
        }
    }

    fn kernel(&self, images: Images<'_>) -> Result<Upsample> {
        let Images { planes, height, width, .. } = images;
        let [rows, columns] = match self.to {
            UpsampleTo::Size(to) => {
                [self.axis(height, to.height, None), self.axis(width, to.width, None)]
            }
            UpsampleTo::Scale(down, across) => {
                let scaled = |size: usize, scale: f64| (size as f64 * scale) as usize;
                let (out_height, out_width) = (scaled(height, down), scaled(width, across));
                let most = u32::MAX as usize;
                if ![out_height, out_width].iter().all(|size| (1..most).contains(size)) {
                    return Err(Error::argument(
                        "Upsample2d::forward",
                        "x",
                        format!("an image of which a scale of ({down}, {across}) makes a size"),
                        format!("({height}, {width}), which becomes ({out_height}, {out_width})"),
                    ));
                }
                [
                    self.axis(height, out_height, Some(down)),
                    self.axis(width, out_width, Some(across)),
                ]
            }
        };
        Ok(Upsample { planes, rows, columns })
    }

    /// What an output of so many elements costs, of an image of the `same` size or another.
    fn work(&self, outputs: usize, same: bool) -> Work {
        let flops = match self.mode {
            UpsampleMode::Nearest => 0,
            // Four products and three sums.
            UpsampleMode::Bilinear { .. } => 7,
        };
        let field = if same { Field::Point } else { Field::Whole };
        Work { field, ..Work::of_elements(outputs, flops) }
    }

    fn axis(&self, input: usize, output: usize, scale: Option<f64>) -> UpsampleAxis {
        match self.mode {
            UpsampleMode::Nearest => UpsampleAxis::nearest(input, output, scale),
            UpsampleMode::Bilinear { align_corners } => {
                UpsampleAxis::linear(input, output, scale, align_corners)
            }
        }
    }
}

impl Module for Upsample2d {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let images = Images::of("Upsample2d::forward", x)?;
        let kernel = self.kernel(images)?;
        let same = kernel.output() == (images.height, images.width);
        images.apply(
            kernel,
            |outputs| self.work(outputs, same),
            |kernel, x| self.composed(kernel, x),
        )
    }
}

impl PlaneKernel for Upsample {
    const NAME: &'static str = "upsample2d";

    fn output(&self) -> (usize, usize) {
        (self.rows.output(), self.columns.output())
    }

    fn forward<T: Scalar>(&self, x: &[T], y: &mut [T]) {
        Upsample::forward(self, x, y);
    }

    fn backward<T: Scalar>(&self, values: Values<'_, T>, gradient: &mut [T], update: Update) {
        Upsample::backward(self, values.upstream, gradient, update);
    }
}

impl Upsample2d {
    /// The twin in candle's operations: a choice of rows and columns, or a product with a matrix on each side.
    fn composed(&self, kernel: &Upsample, x: &Tensor) -> candle_core::Result<Tensor> {
        let Upsample { rows, columns, .. } = kernel;
        if self.mode == UpsampleMode::Nearest {
            let index = |axis: &UpsampleAxis| {
                let low = axis.sources().iter().map(|source| source.low as u32);
                Tensor::from_iter(low, x.device())
            };
            return x.index_select(&index(rows)?, 1)?.index_select(&index(columns)?, 2);
        }
        let terms = |axis: &UpsampleAxis| -> Terms {
            let source = axis.sources().iter();
            source.map(|s| vec![(s.low, 1.0 - s.weight), (s.high, s.weight)]).collect()
        };
        product(x, [terms(rows), terms(columns)])
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
        let x = Var::new(&[[[1.0, 2.0], [3.0, 4.0]]], &Device::Cpu)?;
        let layer = Upsample2d::new(UpsampleTo::Scale(1.0, 2.0), UpsampleMode::Nearest)?;
        let y = layer.forward(&x)?;
        assert_eq!(y.to_vec3::<f64>()?, [[[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]]]);
        let gradients = y.sqr()?.backward()?;
        let gradient = gradients.get(&x).map(|g| g.to_vec3::<f64>()).transpose()?;
        assert_eq!(gradient, Some(vec![vec![vec![4.0, 8.0], vec![12.0, 16.0]]]));

        let mode = UpsampleMode::Bilinear { align_corners: true };
        let y = Upsample2d::new(UpsampleTo::Size((3, 2).into()), mode)?.forward(&x)?;
        assert_eq!(y.to_vec3::<f64>()?, [[[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]]);
        let gradients = y.backward()?;
        let gradient = gradients.get(&x).map(|g| g.to_vec3::<f64>()).transpose()?;
        assert_eq!(gradient, Some(vec![vec![vec![1.5; 2]; 2]]));
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_its_twin(
            shape in [1usize..4, 1usize..9, 1usize..40],
            size in (1usize..20, 1usize..70),
            scale in (0.3..4.0, prop_oneof![Just(2.0), Just(3.0), 0.3..4.0]),
            by_size: bool,
            mode in prop_oneof![
                Just(UpsampleMode::Nearest),
                any::<bool>().prop_map(|align_corners| UpsampleMode::Bilinear { align_corners }),
            ],
            seed: u64,
        ) {
            let to = if by_size { UpsampleTo::Size(size.into()) } else { UpsampleTo::Scale(scale.0, scale.1) };
            let layer = Upsample2d::new(to, mode).unwrap();
            let x = Tensor::zeros(&shape, DType::F64, &Device::Cpu).unwrap();
            let Ok(kernel) = layer.kernel(Images::of("", &x).unwrap()) else {
                prop_assert!(layer.forward(&x).is_err());
                return Ok(());
            };
            twins_agree(&layer, |x| layer.composed(&kernel, x), shape, seed);
        }
    }
}
