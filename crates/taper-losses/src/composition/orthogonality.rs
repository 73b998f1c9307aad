//! Soft orthogonality of a weight.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::precision;

const NAME: &str = "orthogonality";

/// Soft orthogonality: a weight's rows or columns, whichever are fewer, should be orthogonal and of length 1.
///
/// # Equation
/// P = ‖W Wᵀ − I‖²_F where W has no more rows than columns, else ‖Wᵀ W − I‖²_F
///
/// which is Σ (σ² − 1)² over the singular values σ of W. Both squares have the same gradient: they differ by the
/// difference of rows and columns, which is what the larger one cannot come below.
///
/// # Shapes
/// Weight (O, ...) with at least two axes, W (O, K) with all but the first axis flattened: the filters of a convolution
/// (O, I, H, W) are the rows. The value is ().
///
/// # Parameters
/// None. The sum is divided by nothing; the penalty's weight λ is that of its part in a
/// [`WeightedSum`](crate::WeightedSum).
///
/// # Numerics
/// One product of matrices; the value is of the fourth power of the weight, finite in f32 for weights up to some 1e8.
/// f64 stays f64; f32, bf16 and f16 are computed and returned in f32. A weight without elements has the penalty 0.
///
/// # Deviations
/// 1. From Bansal et al.: their soft orthogonality (SO) is ‖Wᵀ W − I‖²_F with filters as columns, also where these are
///    more than their elements. The gradient is the same, the value is not; here 0 can always be reached.
/// 2. From Brock et al. 2017: the sum of squares, not of magnitudes. From Brock et al. 2019: the diagonal counts, so
///    that lengths are drawn to 1.
/// 3. From Keras: its `OrthogonalRegularizer` is the mean magnitude of the cosines of different rows; lengths do not
///    matter to it.
///
/// # Errors
/// A weight with fewer than two axes, or not floating-point.
///
/// # References
/// - Bansal, Chen and Wang 2018, Can we gain more from orthogonality regularizations in training deep CNNs?,
///   <https://arxiv.org/abs/1810.09102>.
/// - Brock et al. 2017, Neural photo editing with introspective adversarial networks,
///   <https://arxiv.org/abs/1609.07093>.
/// - Brock, Donahue and Simonyan 2019, Large scale GAN training for high fidelity natural image synthesis,
///   <https://arxiv.org/abs/1809.11096>.
/// - `keras.regularizers.OrthogonalRegularizer`, <https://keras.io/api/layers/regularizers/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::orthogonality;
///
/// // Two rows of the squared lengths 1 and 4, with the product 2: W Wᵀ − I is (0, 2; 2, 3).
/// let weight = Tensor::new(&[[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]], &Device::Cpu)?;
/// assert_eq!(orthogonality(&weight)?.to_scalar::<f64>()?, 0.0 + 4.0 + 4.0 + 9.0);
/// // Of the transposed one these are the columns.
/// assert_eq!(orthogonality(&weight.t()?)?.to_scalar::<f64>()?, 17.0);
/// # Ok(())
/// # }
/// ```
pub fn orthogonality(weight: &Tensor) -> Result<Tensor> {
    let dtype = precision(NAME, "weight", weight)?;
    let [rows, _, ..] = *weight.dims() else {
        let received = format!("{:?}", weight.dims());
        return Err(Error::argument(NAME, "weight", "of at least two axes", received));
    };
    let weight = weight.to_dtype(dtype)?;
    if weight.elem_count() == 0 {
        return Ok(weight.sum_all()?);
    }
    let columns = weight.elem_count() / rows;
    let matrix = weight.reshape((rows, columns))?;
    let fewer = if rows <= columns { matrix } else { matrix.t()?.contiguous()? };
    let products = fewer.matmul(&fewer.t()?)?;
    let identity = Tensor::eye(rows.min(columns), dtype, products.device())?;
    Ok((products - identity)?.sqr()?.sum_all()?)
}
