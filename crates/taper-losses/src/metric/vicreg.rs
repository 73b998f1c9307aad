//! Variance, invariance and covariance of two views.

use candle_core::{DType, Device, Tensor};
use taper_core::{Error, Result};

use crate::embeddings::{hinge, several, views};

const NAME: &str = "vicreg";

/// The options of [`vicreg`].
///
/// There are no [`LossOptions`](crate::LossOptions): variance and covariance are of a batch, so that it has no losses of
/// rows that could be weighed, masked or left unreduced. Rows that do not count are to be left out of the views.
#[derive(Debug, Clone)]
pub struct VicRegOptions {
    /// The weight of the invariance: λ, at least 0.
    pub invariance: f64,
    /// The weight of the variance: μ, at least 0.
    pub variance: f64,
    /// The weight of the covariance: ν, at least 0.
    pub covariance: f64,
    /// The standard deviation up to which a dimension is pulled: γ, at least 0.
    pub deviation: f64,
    /// What is added to a variance before its root is taken: ε, above 0.
    pub eps: f64,
}

impl Default for VicRegOptions {
    fn default() -> Self {
        Self { invariance: 25.0, variance: 25.0, covariance: 1.0, deviation: 1.0, eps: 1e-4 }
    }
}

/// The value of [`vicreg`] and its parts, each () and with a gradient.
#[derive(Debug, Clone)]
pub struct VicReg {
    /// The sum of the parts, each times its weight.
    pub total: Tensor,
    /// How far the views of a sample are from each other, without its weight.
    pub invariance: Tensor,
    /// How far the dimensions' standard deviations are below γ, without its weight.
    pub variance: Tensor,
    /// How much the dimensions say of each other, without its weight.
    pub covariance: Tensor,
}

/// VICReg: views of a sample should agree, dimensions should vary, and not with each other.
///
/// # Equation
/// L = λ s + μ v + ν c with
///
/// - the invariance s = 1 / (N D) Σᵢ ‖xᵢ − yᵢ‖²,
/// - the variance v = (v(x) + v(y)) / 2, v(z) = 1 / D Σ_d max(0, γ − √(Var z_d + ε)),
/// - the covariance c = c(x) + c(y), c(z) = 1 / D Σ_{d ≠ e} Cov(z_d, z_e)²
///
/// for the first view x and the second y; variances and covariances are over the batch, with N − 1.
///
/// # Shapes
/// First and second view (N, D), of the same shape with N at least 2, in any unit; each part of [`VicReg`] is ().
///
/// # Parameters
/// Of [`VicRegOptions`]:
/// - `invariance`, `variance`, `covariance`: 25, 25 and 1; at least 0 and finite.
/// - `deviation`: 1, γ in the views' unit; at least 0 and finite.
/// - `eps`: 1e-4, ε in the square of the unit; above 0 and finite.
///
/// No [`LossOptions`](crate::LossOptions): the loss is one number of a batch. Its rows have no losses of their own, so
/// weights, a mask and a reduction would have no meaning; leave rows out of the views instead.
///
/// # Numerics
/// Both views have a gradient; it is 0 where a standard deviation is γ. Variances are those of the centred rows. f64
/// stays f64; f32, bf16 and f16 are computed and returned in f32, finite for views up to some 1e9.
///
/// # Deviations
/// 1. From the paper: its equations have Σᵢ ‖xᵢ − yᵢ‖² / N, and v(x) + v(y). The divisions by D and by 2 are those of
///    the authors' code, to which the weights belong.
/// 2. From pytorch-metric-learning: one value with its parts, not one that a reducer makes of dimensions and rows.
///
/// # Errors
/// Views that are not (N, D), have fewer than two rows, or are of different shapes or dtypes or not floating-point; a
/// weight or γ that is negative or not finite, an ε that is not above 0 and finite.
///
/// # References
/// - Bardes, Ponce and LeCun 2022, VICReg: variance-invariance-covariance regularization for self-supervised learning,
///   <https://arxiv.org/abs/2105.04906>; their code, <https://github.com/facebookresearch/vicreg>.
/// - `pytorch_metric_learning.losses.VICRegLoss`,
///   <https://kevinmusgrave.github.io/pytorch-metric-learning/losses/#vicregloss>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{VicRegOptions, vicreg};
///
/// // Both dimensions of the first view have the variance 2 and go together; the second view is one point.
/// let first = Tensor::new(&[[1.0, 1.0], [-1.0, -1.0]], &Device::Cpu)?;
/// let loss = vicreg(&first, &first.zeros_like()?, &VicRegOptions::default())?;
/// assert_eq!(loss.invariance.to_scalar::<f64>()?, 1.0);
/// assert_eq!(loss.covariance.to_scalar::<f64>()?, (2.0f64.powi(2) + 2.0f64.powi(2)) / 2.0);
/// // The point's standard deviation is √ε.
/// let variance = (1.0 - 1e-4f64.sqrt()) / 2.0;
/// assert!((loss.variance.to_scalar::<f64>()? - variance).abs() < 1e-12);
/// let total = 25.0 * 1.0 + 25.0 * variance + 1.0 * 4.0;
/// assert!((loss.total.to_scalar::<f64>()? - total).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn vicreg(first: &Tensor, second: &Tensor, options: &VicRegOptions) -> Result<VicReg> {
    let VicRegOptions { invariance, variance, covariance, deviation, eps } = *options;
    for (name, value) in [
        ("invariance", invariance),
        ("variance", variance),
        ("covariance", covariance),
        ("deviation", deviation),
    ] {
        if !(value >= 0.0 && value.is_finite()) {
            return Err(Error::argument(NAME, name, "at least 0 and finite", value));
        }
    }
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::argument(NAME, "eps", "above 0 and finite", eps));
    }
    let (first, second) = views(NAME, first, second)?;
    several(NAME, "first", &first)?;
    let of_pairs = (&first - &second)?.sqr()?.mean_all()?;
    let (first, second) = (Spread::of(&first)?, Spread::of(&second)?);
    let hinges = (first.hinge(deviation, eps)? + second.hinge(deviation, eps)?)?;
    let of_dimensions = (hinges / 2.0)?;
    let between = (first.covariance()? + second.covariance()?)?;
    let weighted = ((&of_pairs * invariance)? + (&of_dimensions * variance)?)?;
    Ok(VicReg {
        total: (weighted + (&between * covariance)?)?,
        invariance: of_pairs,
        variance: of_dimensions,
        covariance: between,
    })
}

/// A view around its mean.
struct Spread {
    centred: Tensor,
    /// N − 1.
    freedom: f64,
}

impl Spread {
    fn of(view: &Tensor) -> Result<Self> {
        let centred = view.broadcast_sub(&view.mean_keepdim(0)?)?;
        Ok(Self { centred, freedom: (view.dim(0)? - 1) as f64 })
    }

    /// How far the standard deviations are below `least`, on average.
    fn hinge(&self, least: f64, eps: f64) -> Result<Tensor> {
        let variance = (self.centred.sqr()?.sum(0)? / self.freedom)?;
        let missing = (variance + eps)?.sqrt()?.affine(-1.0, least)?;
        Ok(hinge(&missing)?.mean_all()?)
    }

    /// The sum of the squared covariances of different dimensions, over the dimensions.
    fn covariance(&self) -> Result<Tensor> {
        let covariance = (self.centred.t()?.matmul(&self.centred)? / self.freedom)?;
        let dimension = covariance.dim(0)?;
        let own =
            Tensor::eye(dimension, DType::U8, &Device::Cpu)?.to_device(covariance.device())?;
        let others = own.where_cond(&covariance.zeros_like()?, &covariance)?;
        Ok((others.sqr()?.sum_all()? / dimension as f64)?)
    }
}
