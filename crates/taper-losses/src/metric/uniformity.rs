//! The uniformity of embeddings.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::embeddings::{rows, several, similarities, without_diagonal};

const NAME: &str = "uniformity";

/// The options of [`uniformity`].
///
/// There are no [`LossOptions`](crate::LossOptions): the logarithm is of a mean over all pairs of a batch, so that it
/// has no losses of rows that could be weighed, masked or left unreduced. Rows that do not count are to be left out.
#[derive(Debug, Clone)]
pub struct UniformityOptions {
    /// How fast the potential of a pair falls with its distance: t, above 0.
    pub t: f64,
}

impl Default for UniformityOptions {
    fn default() -> Self {
        Self { t: 2.0 }
    }
}

/// The uniformity of embeddings: how evenly their directions lie on the sphere, least where they repel each other
/// most.
///
/// # Equation
/// L = log (1 / (N (N − 1) / 2) Σ_{i < j} exp(− t ‖zᵢ − z_j‖²)), with z = x / ‖x‖
///
/// for the embeddings x.
///
/// # Shapes
/// Embeddings (N, D), with N at least 2, of any scale; the value (), from −4 t to 0.
///
/// # Parameters
/// Of [`UniformityOptions`]:
/// - `t`: 2; above 0 and finite.
///
/// No [`LossOptions`](crate::LossOptions): the loss is one number of a batch. Its rows have no losses of their own,
/// so weights, a mask and a reduction would have no meaning; leave rows out of the embeddings instead.
///
/// # Numerics
/// The embeddings have a gradient. On the sphere − t ‖zᵢ − z_j‖² is 2 t (cos − 1), so that one product of matrices
/// gives all; it holds (N, N). The logarithm of a sum is shifted by its largest term, so that it is finite for any t.
/// An embedding with a norm below 1e-12 is divided by 1e-12, counts as at a right angle to all, and has the gradient
/// 0. f64 stays f64; f32, bf16 and f16 are computed and returned in f32.
///
/// # Deviations
/// 1. From the paper's equation: an expectation over pairs of independent samples, which over a batch would have
///    each with itself, too; only distinct pairs are here and in the authors' code.
/// 2. From the authors' code: it takes embeddings that are of length 1 already; it is −∞ where every term underflows,
///    and adds up N (N − 1) / 2 distances, not a product of matrices.
///
/// # Errors
/// Embeddings that are not (N, D), have fewer than two rows or are not floating-point; a t that is not above 0 and
/// finite.
///
/// # References
/// - Wang and Isola 2020, Understanding contrastive representation learning through alignment and uniformity on the
///   hypersphere, <https://arxiv.org/abs/2005.10242>; their code, <https://github.com/ssnl/align_uniform>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{UniformityOptions, uniformity};
///
/// // Two in one direction, and one at a right angle to both.
/// let embeddings = Tensor::new(&[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]], &Device::Cpu)?;
/// let loss = uniformity(&embeddings, &UniformityOptions::default())?;
/// let by_hand = ((1.0 + 2.0 * (-2.0 * 2.0f64).exp()) / 3.0).ln();
/// assert!((loss.to_scalar::<f64>()? - by_hand).abs() < 1e-14);
/// # Ok(())
/// # }
/// ```
pub fn uniformity(embeddings: &Tensor, options: &UniformityOptions) -> Result<Tensor> {
    let t = options.t;
    if !(t > 0.0 && t.is_finite()) {
        return Err(Error::argument(NAME, "t", "above 0 and finite", t));
    }
    let wide = rows(NAME, "embeddings", embeddings)?;
    let count = several(NAME, "embeddings", &wide)? as f64;
    // Both orders of each pair, which leaves the mean as it is.
    let terms =
        without_diagonal(&(similarities(&wide, &wide, 1.0)? * (2.0 * t))?)?.flatten_all()?;
    let most = terms.detach().max(0)?;
    let sum = terms.broadcast_sub(&most)?.exp()?.sum_all()?;
    Ok((((sum / (count * (count - 1.0)))?.log()? + most)? - 2.0 * t)?)
}
