//! White shapes on black, of which every factor is known.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_2, TAU};

use taper_core::{Error, Result, Stream};

use crate::ImageDataset;

/// Images of one white shape on black, made from five independent factors, in the manner of dSprites.
///
/// # Equation
/// A pixel is 255 where its middle lies in the shape or on its edge, and 0 elsewhere: hard edges, no shades. In units of
/// the image's side, a shape of scale s that stands upright about its middle is
/// - a square (label 0) of side s / 4,
/// - an ellipse (label 1) with half axes of 3s / 16 along the rows and 3s / 32 down the columns,
/// - or a heart (label 2): a square of side 3s / 16 on its corner, with half a disc on each of the two upper sides. It
///   turns about the middle of its height.
///
/// All of a shape is within 3s / 16 of its middle, and so in the image.
///
/// # Shapes
/// Images (1, `side`, `side`). The factors of an image are indices: shape, scale, orientation, x, y, each below its count;
/// [`Self::values`] gives what they stand for.
///
/// # Parameters
/// - `side`: 32 pixels, from 8 to 65536.
/// - `shapes`: 3, from 1 to 3: the first so many.
/// - `scales`: 3, evenly from 0.5 to 1.
/// - `orientations`: 8, evenly over the circle from 0, from the right downwards.
/// - `xs`, `ys`: 8, the middle of the shape evenly from 3/16 to 13/16 of the side, from the left and from the top.
///
/// Each count is 1 at least. A lone scale is 1 and a lone place is in the middle. dSprites has a side of 64 and 3, 6, 40,
/// 32 and 32 values.
///
/// # Deviations
/// 1. From dSprites: the sizes of the shapes and the form of the heart are ours.
/// 2. From dSprites: orientations go from 0 to 2π with both ends there, which are the same; here no two are.
///
/// # Errors
/// [`Self::image`], [`Self::grid`] and [`Self::draw`] refuse sides and counts outside of these ranges, factors that are
/// not below the counts, and more than 4 GiB of images.
///
/// # References
/// Matthey, Higgins, Hassabis and Lerchner 2017, dSprites: Disentanglement testing sprites dataset,
/// <https://github.com/google-deepmind/dsprites-dataset>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use taper_data::Sprites;
///
/// let sprites = Sprites::default().grid()?;
/// assert_eq!(sprites.images.len(), 3 * 3 * 8 * 8 * 8);
/// // The last factor, y, runs fastest.
/// assert_eq!(sprites.factors[9], [0, 0, 0, 1, 1]);
///
/// // A square of 16 x 16 pixels in the middle.
/// let one = Sprites { side: 64, xs: 1, ys: 1, scales: 1, ..Default::default() };
/// let white = one.image([0; 5])?.iter().filter(|pixel| **pixel == 255).count();
/// assert_eq!(white, 256);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sprites {
    /// Pixels along a side of an image.
    pub side: usize,
    /// How many shapes.
    pub shapes: usize,
    /// How many scales.
    pub scales: usize,
    /// How many orientations.
    pub orientations: usize,
    /// How many places along the rows.
    pub xs: usize,
    /// How many places down the columns.
    pub ys: usize,
}

impl Default for Sprites {
    fn default() -> Self {
        Self { side: 32, shapes: 3, scales: 3, orientations: 8, xs: 8, ys: 8 }
    }
}

/// Sprites and what they were made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpriteImages {
    /// The images; the label is the shape.
    pub images: ImageDataset,
    /// The factors of each image, as indices: shape, scale, orientation, x, y.
    pub factors: Vec<[usize; 5]>,
}

/// The bytes of images that one data set may have.
const MOST_BYTES: u64 = 1 << 32;

/// How far the outermost middles are from the edge, and any shape reaches from its middle, in sides.
const REACH: f64 = 3.0 / 16.0;

impl Sprites {
    /// How many values each factor has: shape, scale, orientation, x, y.
    pub fn counts(&self) -> [usize; 5] {
        [self.shapes, self.scales, self.orientations, self.xs, self.ys]
    }

    /// What factors stand for: the shape's label, the scale, the angle in radians, and x and y of the middle in sides.
    pub fn values(&self, factors: [usize; 5]) -> Result<[f64; 5]> {
        self.check("Sprites::values")?;
        self.check_factors("Sprites::values", factors)?;
        let [shape, scale, orientation, x, y] = factors;
        Ok([
            shape as f64,
            self.scale(scale),
            TAU * orientation as f64 / self.orientations as f64,
            place(x, self.xs),
            place(y, self.ys),
        ])
    }

    /// The bytes of the one image with these factors, row by row.
    pub fn image(&self, factors: [usize; 5]) -> Result<Vec<u8>> {
        self.check("Sprites::image")?;
        self.check_factors("Sprites::image", factors)?;
        let mut image = vec![0; self.side * self.side];
        self.render(factors, &mut image);
        Ok(image)
    }

    /// Every combination once, the last factor running fastest.
    pub fn grid(&self) -> Result<SpriteImages> {
        self.check("Sprites::grid")?;
        let count = self.counts().iter().try_fold(1, |n: usize, count| n.checked_mul(*count));
        let combination = |mut at: usize| {
            let mut factors = [0; 5];
            for (factor, count) in factors.iter_mut().zip(self.counts()).rev() {
                *factor = at % count;
                at /= count;
            }
            factors
        };
        self.images("Sprites::grid", "counts", count, combination)
    }

    /// `n` images whose factors are drawn evenly, each by itself.
    pub fn draw(&self, n: usize, stream: &mut Stream) -> Result<SpriteImages> {
        self.check("Sprites::draw")?;
        if n == 0 {
            return Err(Error::argument("Sprites::draw", "n", "at least 1", 0));
        }
        let draw = |_| self.counts().map(|count| stream.below(count as u64) as usize);
        self.images("Sprites::draw", "n", Some(n), draw)
    }

    /// As many images; no number stands for more than there are.
    fn images(
        &self,
        operation: &'static str,
        argument: &str,
        count: Option<usize>,
        factors: impl FnMut(usize) -> [usize; 5],
    ) -> Result<SpriteImages> {
        let size = self.side * self.side;
        let bytes = count.and_then(|count| (count as u64).checked_mul(size as u64));
        let fits = bytes.filter(|bytes| *bytes <= MOST_BYTES).map(usize::try_from);
        let (Some(count), Some(Ok(bytes))) = (count, fits) else {
            let most = MOST_BYTES / size as u64;
            let expected = format!("of at most {most} images, which are 4 GiB");
            let received = count.map_or("more than can be counted".to_owned(), |n| n.to_string());
            return Err(Error::argument(operation, argument, expected, received));
        };
        let factors: Vec<_> = (0..count).map(factors).collect();
        let mut images = vec![0; bytes];
        for (image, factors) in images.chunks_exact_mut(size).zip(&factors) {
            self.render(*factors, image);
        }
        let labels = factors.iter().map(|factors| factors[0] as u32).collect();
        let shape = [1, self.side, self.side];
        let images = ImageDataset::new(images, shape, u8::MAX, labels, self.shapes as u32)?;
        Ok(SpriteImages { images, factors })
    }

    /// Draws one sprite on black.
    fn render(&self, [shape, scale, orientation, x, y]: [usize; 5], image: &mut [u8]) {
        let side = self.side as f64;
        let scale = side * self.scale(scale);
        let (x, y) = (side * place(x, self.xs), side * place(y, self.ys));
        let (sin, cos) = turn(orientation, self.orientations);
        // Nothing is white farther away: one pixel more covers the rounding.
        let reach = REACH * scale + 1.0;
        let around = |middle: f64| {
            let from = (middle - reach).max(0.0) as usize;
            from..self.side.min((middle + reach) as usize + 1)
        };
        for row in around(y) {
            for column in around(x) {
                let (right, down) = (column as f64 + 0.5 - x, row as f64 + 0.5 - y);
                // Turned back.
                let (right, down) = (cos * right + sin * down, cos * down - sin * right);
                if inside(shape, right / scale, down / scale) {
                    image[row * self.side + column] = u8::MAX;
                }
            }
        }
    }

    fn scale(&self, at: usize) -> f64 {
        match self.scales {
            1 => 1.0,
            count => 0.5 + 0.5 * at as f64 / (count - 1) as f64,
        }
    }

    fn check(&self, operation: &'static str) -> Result<()> {
        let lengths = [
            ("side", self.side, 8, 1 << 16),
            ("shapes", self.shapes, 1, 3),
            ("scales", self.scales, 1, usize::MAX),
            ("orientations", self.orientations, 1, usize::MAX),
            ("xs", self.xs, 1, usize::MAX),
            ("ys", self.ys, 1, usize::MAX),
        ];
        for (argument, value, least, most) in lengths {
            if !(least..=most).contains(&value) {
                let expected = match most {
                    usize::MAX => format!("at least {least}"),
                    most => format!("from {least} to {most}"),
                };
                return Err(Error::argument(operation, argument, expected, value));
            }
        }
        Ok(())
    }

    fn check_factors(&self, operation: &'static str, factors: [usize; 5]) -> Result<()> {
        if factors.iter().zip(self.counts()).all(|(factor, count)| *factor < count) {
            return Ok(());
        }
        let expected = format!("below {:?}, the counts", self.counts());
        Err(Error::argument(operation, "factors", expected, format!("{factors:?}")))
    }
}

/// The middle of the shape, in sides.
fn place(at: usize, count: usize) -> f64 {
    match count {
        1 => 0.5,
        count => REACH + (1.0 - 2.0 * REACH) * at as f64 / (count - 1) as f64,
    }
}

/// Sine and cosine of the angle `at` / `count` of a turn. What lies quarters of a turn apart differs by exchanges and
/// signs alone, so that a square turned by a quarter is the same to the pixel.
fn turn(at: usize, count: usize) -> (f64, f64) {
    let quarters = 4 * at as u128;
    let (quarter, rest) = (quarters / count as u128, quarters % count as u128);
    let (sin, cos) = (FRAC_PI_2 * (rest as f64 / count as f64)).sin_cos();
    match quarter {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Whether a point, in sides from the middle of an upright shape of scale 1, lies in it.
fn inside(shape: usize, right: f64, down: f64) -> bool {
    match shape {
        0 => right.abs().max(down.abs()) <= 1.0 / 8.0,
        1 => right.hypot(2.0 * down) <= REACH,
        _ => in_heart(right.abs() / REACH, down / REACH),
    }
}

/// The heart about a square of side 1, on the right of its axis.
fn in_heart(right: f64, down: f64) -> bool {
    // Of the square, the lower corner is 1 / √2 below its middle. The discs, about the middles of the upper sides, reach
    // half of that and their radius of 1 / 2 above it. The middle of both is the heart's.
    let below = FRAC_1_SQRT_2;
    let above = 0.5 * FRAC_1_SQRT_2 + 0.5;
    let down = down + 0.5 * (below - above);
    let square = right + down.abs() <= FRAC_1_SQRT_2;
    let quarter = 0.5 * FRAC_1_SQRT_2;
    square || (right - quarter).hypot(down + quarter) <= 0.5
}
