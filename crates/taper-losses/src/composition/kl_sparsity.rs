//! The divergence of mean activations from a sparse one.

use candle_core::Tensor;
use taper_core::{Error, Result};

use super::penalty::{Term, reduced};
use crate::Reduction;
use crate::arguments::{element, precision, to_host};

/// The options of [`kl_sparsity`].
///
/// There are no [`LossOptions`](crate::LossOptions): the batch only counts by its mean, so that its rows have no losses
/// of their own.
#[derive(Debug, Clone)]
pub struct KlSparsityOptions {
    /// The mean activation that is aimed at: ρ, above 0 and below 1.
    pub rho: f64,
    /// How near to 0 and to 1 the divergence keeps its curve: ε, above 0 and below ρ and 1 − ρ.
    pub eps: f64,
    /// How the divergences of the units become the value; the two means are one.
    pub reduction: Reduction,
}

impl Default for KlSparsityOptions {
    fn default() -> Self {
        Self { rho: 0.05, eps: 1e-5, reduction: Reduction::Sum }
    }
}

/// The sparsity penalty of an autoencoder: each unit's mean activation over a batch should be near a small ρ.
///
/// # Equation
/// P = Σⱼ KL(ρ ‖ ρ̂ⱼ), KL(ρ ‖ ρ̂) = ρ log(ρ / ρ̂) + (1 − ρ) log((1 − ρ) / (1 − ρ̂))
///
/// with the mean ρ̂ⱼ of the activation of unit j over the batch. Where ρ̂ is below ε or above 1 − ε the tangent at that
/// point takes the place of the curve.
///
/// # Shapes
/// Activations (N, ...), from 0 to 1, N samples of units of any axes, or (N) for a single unit; the value (), in nats,
/// or (...) with [`Reduction::None`]. Where the units are the channels of (N, C, H, W), move C last and flatten the
/// rest.
///
/// # Parameters
/// Of [`KlSparsityOptions`]:
/// - `rho`: 0.05; above 0 and below 1.
/// - `eps`: 1e-5; above 0 and below ρ and 1 − ρ.
/// - `reduction`: [`Reduction::Sum`], over the units.
///
/// No [`LossOptions`](crate::LossOptions): rows only count by their mean. Leave out those that do not count, such as
/// padding.
///
/// # Numerics
/// The divergence is infinite at 0 and 1, where a sigmoid in f32 does arrive. By the tangents the value is finite and
/// convex, and the derivative (ρ̂ − ρ) / (ρ̂ (1 − ρ̂)) is never above max(ρ, 1 − ρ) / ε in magnitude: a unit that never
/// or always fires is still pulled back, as far as its own derivative lets it. Between ε and 1 − ε nothing is changed.
/// The gradient of an activation is that over N; for activations in f16 it is finite below 65504, by default from two
/// rows on. On a CPU the divergences are computed in f64 from means in the dtype of the computation. f64 stays f64;
/// f32, bf16 and f16 are averaged in f32, and the value is f32.
///
/// # Deviations
/// 1. From Ng's notes: the tangents near 0 and 1. Its weight β is that of a part in a
///    [`WeightedSum`](crate::WeightedSum). Its ρ̂ is the mean over the whole training set; here it is that of a batch.
/// 2. From Lee, Ekanadham and Ng: the divergence, not the square of ρ − ρ̂.
///
/// # Errors
/// Activations that are not floating-point, without rows or units, or with an element that is not from 0 to 1 (take
/// (1 + a) / 2 of a tanh); a ρ that is not above 0 and below 1, an ε that is not above 0 and below ρ and 1 − ρ.
///
/// # References
/// - Ng 2011, Sparse autoencoder, CS294A lecture notes,
///   <https://web.stanford.edu/class/cs294a/sparseAutoencoder_2011new.pdf>.
/// - Lee, Ekanadham and Ng 2008, Sparse deep belief net model for visual area V2, NIPS 20 (the mean activation that is
///   aimed at).
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::{KlSparsityOptions, kl_sparsity};
///
/// // Means of 1/4, as it should be, and of 1/2.
/// let activations = Tensor::new(&[[0.5, 0.25], [0.0, 0.75]], &Device::Cpu)?;
/// let options = KlSparsityOptions { rho: 0.25, ..Default::default() };
/// let penalty = kl_sparsity(&activations, &options)?;
/// let by_hand = 0.25 * 0.5f64.ln() + 0.75 * 1.5f64.ln();
/// assert!((penalty.to_scalar::<f64>()? - by_hand).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
pub fn kl_sparsity(activations: &Tensor, options: &KlSparsityOptions) -> Result<Tensor> {
    let KlSparsityOptions { rho, eps, reduction } = *options;
    let dtype = precision(Divergence::NAME, "activations", activations)?;
    if !(rho > 0.0 && rho < 1.0) {
        return Err(Error::argument(Divergence::NAME, "rho", "above 0 and below 1", rho));
    }
    if !(eps > 0.0 && eps < rho && eps < 1.0 - rho) {
        let expected = format!("above 0 and below rho and 1 - rho, where rho is {rho}");
        return Err(Error::argument(Divergence::NAME, "eps", expected, eps));
    }
    if activations.rank() == 0 || activations.elem_count() == 0 {
        let expected = "of shape (N, ...) with at least one row and one unit";
        let received = format!("{:?}", activations.dims());
        return Err(Error::argument(Divergence::NAME, "activations", expected, received));
    }
    expect_activations(activations)?;
    let means = activations.to_dtype(dtype)?.mean(0)?;
    reduced(Divergence { rho, eps }, &means, reduction)
}

fn expect_activations(activations: &Tensor) -> Result<()> {
    let values = to_host(activations)?;
    match values.iter().enumerate().find(|(_, value)| !(0.0..=1.0).contains(*value)) {
        None => Ok(()),
        Some((at, value)) => Err(Error::argument(
            Divergence::NAME,
            element("activations", at, activations.dims()),
            "from 0 to 1 (take (1 + a) / 2 of a tanh)",
            value,
        )),
    }
}

/// KL(ρ ‖ x), by its tangents where x is within ε of 0 or 1.
#[derive(Clone)]
struct Divergence {
    rho: f64,
    eps: f64,
}

impl Divergence {
    /// The divergence at x and its derivative, given 1 − x.
    fn at(&self, x: f64, rest: f64) -> (f64, f64) {
        let rho = self.rho;
        let divergence = rho * (rho / x).ln() + (1.0 - rho) * ((1.0 - rho) / rest).ln();
        (divergence, (x - rho) / (x * rest))
    }
}

impl Term for Divergence {
    const NAME: &'static str = "kl_sparsity";

    fn rule(&self, x: f64) -> (f64, f64) {
        let (eps, rest) = (self.eps, 1.0 - x);
        let along =
            |(divergence, slope): (f64, f64), distance: f64| (divergence + slope * distance, slope);
        if x < eps {
            along(self.at(eps, 1.0 - eps), x - eps)
        } else if rest < eps {
            along(self.at(1.0 - eps, eps), eps - rest)
        } else {
            self.at(x, rest)
        }
    }

    fn composed(&self, x: &Tensor) -> Result<Tensor> {
        let (rho, eps) = (self.rho, self.eps);
        let (low, high) = (x.lt(eps)?, x.affine(-1.0, 1.0)?.lt(eps)?);
        // What the curve is not taken at goes not into it: the logarithm's slope at 0 is infinite.
        let usual = (x.ones_like()? * rho)?;
        let inner = low.where_cond(&usual, &high.where_cond(&usual, x)?)?;
        let of_rho = (inner.log()? * -rho)?;
        let of_rest = (inner.affine(-1.0, 1.0)?.log()? * (rho - 1.0))?;
        let entropy = rho * rho.ln() + (1.0 - rho) * (1.0 - rho).ln();
        let curve = ((of_rho + of_rest)? + entropy)?;
        let (divergence, slope) = self.at(eps, 1.0 - eps);
        let below = x.affine(slope, divergence - slope * eps)?;
        let (divergence, slope) = self.at(1.0 - eps, eps);
        // x − 1 is exact there, unlike the product of x and the slope.
        let above = (x - 1.0)?.affine(slope, divergence + slope * eps)?;
        Ok(low.where_cond(&below, &high.where_cond(&above, &curve)?)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use proptest::prelude::*;

    use super::super::penalty::tests::twins_agree;
    use super::*;
    use crate::elements::tests::random;

    proptest! {
        #[test]
        fn the_twins_agree(random in random(), rho in 0.15..0.85) {
            // With so large an ε some of the means, |x| / 4 but at most 1, are on the tangents.
            let x = (random.normal("x", (random.rows, random.columns)).abs().unwrap() / 4.0).unwrap();
            let x = x.minimum(&x.ones_like().unwrap()).unwrap();
            twins_agree(&random, &x, Divergence { rho, eps: 0.1 });
        }
    }

    #[test]
    fn the_twins_agree_at_the_ends_in_f32() -> Result<()> {
        let x = Tensor::new(&[0f32, 1e-9, 0.3, 1.0 - f32::EPSILON / 2.0, 1.0], &Device::Cpu)?;
        let term = Divergence { rho: 0.05, eps: 1e-7 };
        let fused = reduced(term.clone(), &x, Reduction::None)?.to_vec1::<f32>()?;
        let composed = term.composed(&x)?.to_vec1::<f32>()?;
        for (fused, composed) in fused.into_iter().zip(composed) {
            assert!((fused - composed).abs() < 1e-5 * fused, "{fused} is not {composed}");
        }
        Ok(())
    }

    #[test]
    fn hand_numbers_of_the_tangents() {
        let term = Divergence { rho: 0.5, eps: 0.125 };
        // At ε the divergence is log(4 / √7) and its slope −24/7; one ε further down that is 3/7 more.
        let (value, slope) = term.rule(0.0);
        assert!((value - ((4.0 / 7f64.sqrt()).ln() + 3.0 / 7.0)).abs() < 1e-15);
        assert!((slope + 24.0 / 7.0).abs() < 1e-14);
        let (mirrored, opposite) = term.rule(1.0);
        assert!((mirrored - value).abs() < 1e-15 && (opposite + slope).abs() < 1e-14);
    }
}
