//! A weighted sum of named losses.

use candle_core::Tensor;
use taper_core::{Error, Result};

use crate::arguments::{expect_shape, precision};

const WITH: &str = "WeightedSum::with";

/// A weighted sum of named losses, which reports its parts.
///
/// The negative evidence lower bound of a variational autoencoder is one: a reconstruction and β times a divergence.
///
/// # Equation
/// L = Σ_k w_k l_k
///
/// over the parts k with a weight that is not 0.
///
/// The parts keep their own scales: a mean over the pixels of images beside a divergence that is a sum over a code's
/// dimensions makes an ELBO only with the number of pixels as its weight.
///
/// # Shapes
/// Parts () or (...), all of one shape, in any unit; the total and the reported parts of that shape. Parts of unreduced
/// losses give the total of each row.
///
/// # Parameters
/// Of each part, in [`WeightedSum::with`]:
/// - `name`: not empty, and that of no other part.
/// - `weight`: w, finite; negative where more of a part is better, such as an entropy. An annealed part has another
///   one in each step.
/// - `losses`: what is summed, with its gradient.
///
/// # Numerics
/// A part of weight 0 is reported but is no part of the total or its graph: it costs no backward pass, and 0 · ∞ and
/// 0 · NaN are 0. Where all weights are 0 the total is 0, without a gradient. Of the other parts NaN and infinity go
/// through. f64 stays f64; f32, bf16 and f16 are summed and returned in f32.
///
/// # Deviations
/// 1. From Keras: `compile(loss_weights=...)` multiplies by a weight of 0, too, so that NaN goes through. Like here, it
///    reports the parts without their weights; it reports their mean over the batches of an epoch.
///
/// # Errors
/// A name that is empty or already there; a weight that is not finite; losses that are not floating-point or not of
/// the shape, dtype and device of the first part; a total of no parts.
///
/// # References
/// - Higgins et al. 2017, β-VAE: learning basic visual concepts with a constrained variational framework,
///   <https://openreview.net/forum?id=Sy2fzU9gl> (a weighted part).
/// - `keras.Model.compile`, <https://keras.io/api/models/model_training_apis/>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_losses::WeightedSum;
///
/// let reconstruction = Tensor::new(3.0, &Device::Cpu)?;
/// let divergence = Tensor::new(0.5, &Device::Cpu)?;
/// let loss = WeightedSum::new()
///     .with("reconstruction", 1.0, &reconstruction)?
///     .with("divergence", 4.0, &divergence)?;
/// assert_eq!(loss.total()?.to_scalar::<f64>()?, 3.0 + 4.0 * 0.5);
/// for (name, value) in loss.parts() {
///     println!("{name}: {}", value.to_scalar::<f64>()?);
/// }
/// # assert_eq!(loss.parts()[1].0, "divergence");
/// # assert_eq!(loss.parts()[1].1.to_scalar::<f64>()?, 0.5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct WeightedSum {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    name: String,
    weight: f64,
    /// In the dtype of the computation.
    losses: Tensor,
}

impl WeightedSum {
    /// A sum of no parts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sum with one more part, `weight` times `losses`.
    ///
    /// # Errors
    /// A name that is empty or already there; a weight that is not finite; losses that are not floating-point or not
    /// of the shape, dtype and device of the first part.
    pub fn with(mut self, name: impl Into<String>, weight: f64, losses: &Tensor) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || self.parts.iter().any(|part| part.name == name) {
            let expected = "not empty and that of no other part";
            return Err(Error::argument(WITH, "name", expected, format!("{name:?}")));
        }
        if !weight.is_finite() {
            let argument = format!("weight of {name:?}");
            return Err(Error::argument(WITH, argument, "finite", weight));
        }
        let argument = format!("losses of {name:?}");
        let dtype = precision(WITH, &argument, losses)?;
        let losses = losses.to_dtype(dtype)?;
        if let Some(first) = self.parts.first() {
            first.expect_alike(&argument, &losses)?;
        }
        self.parts.push(Part { name, weight, losses });
        Ok(self)
    }

    /// The weighted sum, with the gradients of all parts whose weight is not 0.
    ///
    /// # Errors
    /// No parts.
    pub fn total(&self) -> Result<Tensor> {
        let Some(first) = self.parts.first() else {
            return Err(Error::argument("WeightedSum::total", "parts", "at least one", "none"));
        };
        let mut total: Option<Tensor> = None;
        for part in self.parts.iter().filter(|part| part.weight != 0.0) {
            let weighted = (&part.losses * part.weight)?;
            total = Some(match total {
                Some(total) => (total + weighted)?,
                None => weighted,
            });
        }
        match total {
            Some(total) => Ok(total),
            None => Ok(first.losses.zeros_like()?),
        }
    }

    /// The parts in their order: names, and losses without weights and gradients, to be logged.
    pub fn parts(&self) -> Vec<(&str, Tensor)> {
        self.parts.iter().map(|part| (part.name.as_str(), part.losses.detach())).collect()
    }
}

impl Part {
    /// That `losses` are of the shape and device of this part and are computed in its dtype.
    fn expect_alike(&self, argument: &str, losses: &Tensor) -> Result<()> {
        expect_shape(WITH, argument, losses, self.losses.dims())?;
        let wrong = |expected: String, received: String| {
            Err(Error::argument(WITH, argument, expected, received))
        };
        let (expected, received) = (self.losses.dtype(), losses.dtype());
        if expected != received {
            let expected = format!("computed in {expected:?}, as {:?} is", self.name);
            return wrong(expected, format!("{received:?}"));
        }
        if !self.losses.device().same_device(losses.device()) {
            let [ours, theirs] =
                [&self.losses, losses].map(|it| format!("{:?}", it.device().location()));
            return wrong(format!("on {ours}, as {:?} is", self.name), theirs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn hand_numbers_of_rows_and_of_a_part_of_weight_0() -> Result<()> {
        let [a, b, c] = [[1.0, 2.0], [f64::NAN, f64::INFINITY], [3.0, 5.0]]
            .map(|part| Var::new(&part, &Device::Cpu));
        let [a, b, c] = [a?, b?, c?];
        let sum = WeightedSum::new().with("a", 2.0, &a)?.with("b", 0.0, &b)?.with("c", -1.0, &c)?;
        let total = sum.total()?;
        assert_eq!(total.to_vec1::<f64>()?, [-1.0, -1.0]);
        let gradients = total.sum_all()?.backward()?;
        for (variable, weight) in [(&a, 2.0), (&c, -1.0)] {
            let gradient = gradients.get(variable).map(Tensor::to_vec1::<f64>).transpose()?;
            assert_eq!(gradient, Some(vec![weight; 2]));
        }
        assert!(gradients.get(&b).is_none());
        let parts = sum.parts();
        assert_eq!(parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(parts[1].1.to_vec1::<f64>()?[0].is_nan());
        assert!(parts.iter().all(|(_, part)| !part.track_op()));
        Ok(())
    }
}
