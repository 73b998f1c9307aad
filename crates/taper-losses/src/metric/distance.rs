//! Distances of embeddings.

use candle_core::{D, Tensor};
use taper_core::{Error, Result};

use crate::arguments::{beside, expect_shape};
use crate::embeddings::{SHORTEST, rows, unit};

const BETWEEN: &str = "Distance::between";
const PAIRWISE: &str = "Distance::pairwise";

/// How far two embeddings are from each other, row by row or all against all.
///
/// # Equation
/// ‖d‖, ‖d‖², Σ_k ∣d_k∣ or 1 − cos(a, b), with d = a − b for two embeddings a and b:
///
/// | | distance | unit |
/// |---|---|---|
/// | `Euclidean` | ‖d‖ = √(Σ_k d_k²) | that of the embeddings |
/// | `SquaredEuclidean` | ‖d‖² | its square |
/// | `Manhattan` | Σ_k ∣d_k∣ | that of the embeddings |
/// | `Cosine` | 1 − a · b / (‖a‖ ‖b‖), from 0 to 2 | none |
///
/// # Shapes
/// [`between`](Self::between): (N, D) and (N, D) give (N), of row i and row i. [`pairwise`](Self::pairwise): (N, D)
/// and (M, D) give (N, M), of row i and row j.
///
/// # Parameters
/// The variant; `Euclidean` by default.
///
/// # Numerics
/// Both arguments have a gradient; it is finite everywhere, and 0 where two embeddings are at one place.
///
/// Every distance is that of the differences, so that near points keep their digits: d is exact where a and b are
/// within a factor of 2. The cosine distance is ‖a / ‖a‖ − b / ‖b‖‖² / 2, which is 1 − cos without the subtraction of
/// two numbers near 1. All are 0 for equal embeddings, not only nearly so. Squares of f32 are finite for differences
/// up to some 1e19; those of differences below 1e-19 lose digits, below 1e-23 they are 0. An embedding with a norm
/// below 1e-12 has no direction: its cosine distance is 1 to all, itself too, without a gradient.
///
/// All against all holds the differences, (N, M, D). f64 stays f64; f32, bf16 and f16 are computed and returned in
/// f32.
///
/// # Deviations
/// 1. From `torch.nn.functional.pairwise_distance`: no 1e-6 is added to each difference, so that the distance is
///    symmetric and 0 for equal embeddings.
/// 2. From `torch.cdist`: above 25 rows it expands ‖a‖² + ‖b‖² − 2 a · b by default, so that f32 embeddings near
///    (100, 100, 100, 100) are some 0.1 from themselves. That is a product of matrices and holds (N, M) only.
/// 3. From `torch.nn.functional.cosine_similarity`: an embedding of zeros has no gradient, not that of a norm
///    of 1e-8.
/// 4. From pytorch-metric-learning: embeddings are taken as they are. Its distances normalise them first by default.
///
/// # Errors
/// Embeddings that are not (N, D) or not floating-point; others of another D, N where they meet row by row, or dtype.
///
/// # References
/// - Deza and Deza 2016, Encyclopedia of distances, <https://doi.org/10.1007/978-3-662-52844-0>.
/// - `torch.nn.functional.pairwise_distance`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.pairwise_distance.html>; `torch.cdist`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.cdist.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::Distance;
///
/// let a = Tensor::new(&[[0.0, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3.0, 4.0], [1.0, 0.0]], &Device::Cpu)?;
/// assert_eq!(Distance::Euclidean.between(&a, &b)?.to_vec1::<f64>()?, [5.0, 0.0]);
/// assert_eq!(Distance::Manhattan.pairwise(&a, &b)?.to_vec2::<f64>()?, [[7.0, 1.0], [6.0, 0.0]]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distance {
    /// The length of the way from one to the other.
    #[default]
    Euclidean,
    /// Its square.
    SquaredEuclidean,
    /// The sum of the ways along the axes.
    Manhattan,
    /// One minus the cosine of the angle between them.
    Cosine,
}

impl Distance {
    /// The distance of each row of `a` (N, D) and the same row of `b` (N, D): (N).
    ///
    /// # Errors
    /// As the [type](Self) says.
    pub fn between(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let wide = rows(BETWEEN, "a", a)?;
        self.of(&wide, &beside(BETWEEN, "b", b, "a", a)?)
    }

    /// The distance of each row of `a` (N, D) and each row of `b` (M, D): (N, M).
    ///
    /// # Errors
    /// As the [type](Self) says.
    pub fn pairwise(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let wide = rows(PAIRWISE, "a", a)?;
        let other = rows(PAIRWISE, "b", b)?;
        expect_shape(PAIRWISE, "b", b, &[b.dim(0)?, a.dim(1)?])?;
        if a.dtype() != b.dtype() {
            let (expected, received) =
                (format!("{:?}, as a", a.dtype()), format!("{:?}", b.dtype()));
            return Err(Error::argument(PAIRWISE, "b", expected, received));
        }
        self.of_all(&wide, &other)
    }

    /// [`pairwise`](Self::pairwise) of rows in the dtype of the computation.
    pub(crate) fn of_all(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.of(&a.unsqueeze(1)?, &b.unsqueeze(0)?)
    }

    /// Along the last axis of two tensors in the dtype of the computation that fit or broadcast.
    pub(crate) fn of(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        match self {
            Self::SquaredEuclidean => square(a, b),
            Self::Euclidean => {
                let square = square(a, b)?;
                // The root of 0 has an infinite derivative, which not even a choice behind it could stop.
                let nothing = square.eq(0.0)?;
                let root = nothing.where_cond(&square.ones_like()?, &square)?.sqrt()?;
                Ok(nothing.where_cond(&square.zeros_like()?, &root)?)
            }
            Self::Manhattan => {
                let d = a.broadcast_sub(b)?;
                // The derivative of candle's own |d| is 1 at 0.
                Ok((&d * d.detach().sign()?)?.sum(D::Minus1)?)
            }
            Self::Cosine => {
                let half = (square(&unit(a)?, &unit(b)?)? / 2.0)?;
                let lost = short(a)?.broadcast_add(&short(b)?)?;
                Ok(lost.where_cond(&half.ones_like()?, &half)?)
            }
        }
    }
}

fn square(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(a.broadcast_sub(b)?.sqr()?.sum(D::Minus1)?)
}

/// 1 where a row has no direction.
fn short(x: &Tensor) -> Result<Tensor> {
    Ok(x.detach().sqr()?.sum(D::Minus1)?.lt(SHORTEST * SHORTEST)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers_of_every_variant() -> Result<()> {
        let a = Tensor::new(&[[1.0, 2.0], [0.0, 3.0], [0.0, 0.0]], &Device::Cpu)?;
        let b = Tensor::new(&[[-2.0, 6.0], [4.0, 0.0], [0.0, 0.0]], &Device::Cpu)?;
        let of = |distance: Distance| -> Result<Vec<f64>> {
            Ok(distance.between(&a, &b)?.to_vec1::<f64>()?)
        };
        assert_eq!(of(Distance::Euclidean)?, [5.0, 5.0, 0.0]);
        assert_eq!(of(Distance::SquaredEuclidean)?, [25.0, 25.0, 0.0]);
        assert_eq!(of(Distance::Manhattan)?, [7.0, 7.0, 0.0]);
        let expected = [1.0 - 10.0 / 200f64.sqrt(), 1.0, 1.0];
        for (actual, expected) in of(Distance::Cosine)?.into_iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-15, "{actual} is not {expected}");
        }
        Ok(())
    }
}
