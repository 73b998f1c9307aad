//! What the loss and its gradient do along the direction of a step.

use candle_core::{Tensor, Var};
use taper_core::{Error, Result};

use super::restoring::restoring;
use super::slope::{Slope, distance, norm};

/// What [`landscape`] finds: the start, and one entry a step size, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Landscape {
    /// The loss before any step.
    pub loss: f64,
    /// The norm of the gradient there.
    pub gradient_norm: f64,
    /// The loss after each step.
    pub losses: Vec<f64>,
    /// How far the gradient after each step is from that at the start.
    pub gradient_changes: Vec<f64>,
    /// The length of each step.
    pub lengths: Vec<f64>,
}

impl Landscape {
    /// The least and the largest loss, that at the start included; NaN if one of them is.
    pub fn loss_range(&self) -> (f64, f64) {
        let mut range = (self.loss, self.loss);
        for loss in &self.losses {
            // Not `f64::min` and `f64::max`, which would lose a NaN.
            if loss.is_nan() || *loss < range.0 {
                range.0 = *loss;
            }
            if loss.is_nan() || *loss > range.1 {
                range.1 = *loss;
            }
            if range.0.is_nan() {
                break;
            }
        }
        range
    }

    /// The least and the largest distance of a gradient from that at the start; NaN if one of them is.
    pub fn gradient_change(&self) -> (f64, f64) {
        let largest = largest(self.gradient_changes.iter().copied());
        let least = -self::largest(self.gradient_changes.iter().map(|change| -change));
        (least, largest)
    }

    /// The effective β-smoothness: the largest change of the gradient over the length of the step.
    pub fn smoothness(&self) -> f64 {
        let steps = self.gradient_changes.iter().zip(&self.lengths);
        largest(steps.map(|(change, length)| change / length))
    }
}

/// NaN if one of the values is.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(
        f64::NEG_INFINITY,
        |largest, value| {
            if value > largest || value.is_nan() { value } else { largest }
        },
    )
}

/// Loss and gradient after steps of several sizes against the gradient, each from the same place.
///
/// # Equation
/// θ_η = θ − η ∇L(θ); L(θ_η), ‖∇L(θ_η) − ∇L(θ)‖, and β = max_η ‖∇L(θ_η) − ∇L(θ)‖ / ‖η ∇L(θ)‖
///
/// # Shapes
/// The loss (); parameters of any shapes; one number a step size. θ is all parameters as one vector.
///
/// # Parameters
/// - `loss`: runs the model on a batch; the same batch, and the same noise if there is any, at every call.
/// - `parameters`: what is moved.
/// - `state`: what else a call of `loss` changes, such as running statistics
///   ([`Parameters::buffers`](taper_core::Parameters::buffers)).
/// - `step_sizes`: η, at least one, none 0; below 0 it goes up.
///
/// # Numerics
/// Distances and norms are summed in f64, of gradients in their own dtype: between two gradients in f32 that agree
/// to 1e-7 there is no distance to be seen, and neither is β. A gradient of 0 gives a NaN. Parameters and state are
/// put back to the bit.
///
/// # Deviations
/// 1. The paper probes a range of step sizes continuously; here they are a list.
/// 2. The paper speaks of moving in the direction of the gradient; as in its training the step goes against it.
///
/// # Errors
/// Step sizes that are 0 or not finite, or none; a loss that is no number of shape (); what `loss` reports, after
/// which everything is put back as well.
///
/// # References
/// - Santurkar, Tsipras, Ilyas and Madry 2018, How does batch normalization help optimization?, section 3.1 and
///   figure 4, <https://arxiv.org/abs/1805.11604>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_norm::landscape;
///
/// // 2 x²: the gradient is 4 x, its change 4 a unit of length.
/// let x = Var::new(1.0, &Device::Cpu)?;
/// let parameters = [("x".to_owned(), x.clone())];
/// let found = landscape(|| Ok((x.sqr()? * 2.0)?), &parameters, &[], &[0.25, 0.5])?;
/// assert_eq!((found.loss, found.gradient_norm), (2.0, 4.0));
/// assert_eq!(found.losses, [0.0, 2.0]);
/// assert_eq!(found.gradient_changes, [4.0, 8.0]);
/// assert_eq!(found.smoothness(), 4.0);
/// assert_eq!(x.to_scalar::<f64>()?, 1.0);
/// # Ok(())
/// # }
/// ```
pub fn landscape(
    loss: impl FnMut() -> Result<Tensor>,
    parameters: &[(String, Var)],
    state: &[(String, Var)],
    step_sizes: &[f64],
) -> Result<Landscape> {
    if step_sizes.is_empty() {
        return Err(Error::argument(NAME, "step_sizes", "at least one", "none"));
    }
    if let Some(size) = step_sizes.iter().find(|size| **size == 0.0 || !size.is_finite()) {
        return Err(Error::argument(NAME, "step_sizes", "finite and not 0", size));
    }
    let variables: Vec<Var> = parameters.iter().map(|(_, variable)| variable.clone()).collect();
    let all = variables.iter().chain(state.iter().map(|(_, variable)| variable));
    restoring(all, || {
        let mut slope = Slope::new(NAME, loss, variables.clone())?;
        let start: Vec<Tensor> =
            variables.iter().map(|it| it.copy()).collect::<candle_core::Result<_>>()?;
        let (loss, gradient) = slope.here()?;
        let gradient_norm = norm(&gradient)?;
        let mut found = Landscape {
            loss,
            gradient_norm,
            losses: Vec::new(),
            gradient_changes: Vec::new(),
            lengths: step_sizes.iter().map(|size| size.abs() * gradient_norm).collect(),
        };
        for size in step_sizes {
            for ((variable, start), gradient) in variables.iter().zip(&start).zip(&gradient) {
                variable.set(&(start - (gradient * *size)?)?)?;
            }
            let (loss, there) = slope.here()?;
            found.losses.push(loss);
            found.gradient_changes.push(distance(&there, &gradient)?);
        }
        Ok(found)
    })
}

const NAME: &str = "landscape";

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::ModuleT;
    use taper_core::{Parameters, stream};

    use super::*;
    use crate::{BatchNormConfig, batch_norm};

    const CPU: Device = Device::Cpu;

    fn named(variables: &[&Var]) -> Vec<(String, Var)> {
        variables.iter().enumerate().map(|(at, it)| (at.to_string(), (*it).clone())).collect()
    }

    #[test]
    fn on_a_quadratic_the_smoothness_is_the_eigenvalue() -> Result<()> {
        // ½ (3 x² + 7 y²), from two eigenvectors and from between them.
        let (x, y) = (Var::new(2.0, &CPU)?, Var::new(0.0, &CPU)?);
        let loss = || Ok(((x.sqr()? * 1.5)? + (y.sqr()? * 3.5)?)?);
        let parameters = named(&[&x, &y]);
        let probe = || landscape(loss, &parameters, &[], &[0.1, -0.2, 0.5]);
        let found = probe()?;
        assert!((found.smoothness() - 3.0).abs() < 1e-12);
        assert!((found.gradient_norm - 6.0).abs() < 1e-12);
        // x is 2 − 6 η: 1.4, 3.2, −1.
        let losses = [1.5 * 1.96, 1.5 * 10.24, 1.5];
        assert!(found.losses.iter().zip(losses).all(|(a, b)| (a - b).abs() < 1e-12));
        let (least, most) = found.loss_range();
        assert!((least - 1.5).abs() < 1e-12 && (most - 15.36).abs() < 1e-12);
        let (least, most) = found.gradient_change();
        assert!((least - 1.8).abs() < 1e-12 && (most - 9.0).abs() < 1e-12);
        x.set(&Tensor::new(0.0, &CPU)?)?;
        y.set(&Tensor::new(1.0, &CPU)?)?;
        assert!((probe()?.smoothness() - 7.0).abs() < 1e-12);
        x.set(&Tensor::new(1.0, &CPU)?)?;
        // The gradient is (3, 7), its change along it (9, 49) η.
        let expected = (81.0_f64 + 2401.0).sqrt() / 58.0_f64.sqrt();
        assert!((probe()?.smoothness() - expected).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn a_linear_loss_is_flat_and_a_gradient_of_zero_is_no_direction() -> Result<()> {
        let x = Var::new(&[1.0, -2.0], &CPU)?;
        let found =
            landscape(|| Ok((x.as_tensor() * 3.0)?.sum_all()?), &named(&[&x]), &[], &[0.5, 1.0])?;
        assert_eq!((found.smoothness(), found.gradient_change()), (0.0, (0.0, 0.0)));
        assert_eq!(found.losses, [-3.0 - 9.0, -3.0 - 18.0]);
        let idle = Var::new(1.0, &CPU)?;
        let found = landscape(|| Ok(x.sum_all()?), &named(&[&idle]), &[], &[0.5])?;
        assert_eq!((found.gradient_norm, found.loss_range()), (0.0, (-1.0, -1.0)));
        assert!(found.smoothness().is_nan());
        Ok(())
    }

    #[test]
    fn parameters_and_running_statistics_are_put_back_to_the_bit_after_an_error_too() -> Result<()>
    {
        let parameters = Parameters::new(&stream(3, "init"));
        let norm = batch_norm(3, BatchNormConfig::default(), parameters.builder(DType::F32, &CPU))?;
        let x = stream(4, "x").normal(1.0, 2.0, (8, 3), DType::F32, &CPU)?;
        norm.forward_t(&x, true)?;
        let before = parameters.to_safetensors()?;
        let mut calls = 0;
        let mut probe = |fail_at: usize| {
            landscape(
                || {
                    calls += 1;
                    if calls == fail_at {
                        return Err(Error::argument("model", "call", "another", calls));
                    }
                    Ok(norm.forward_t(&x, true)?.sin()?.mean_all()?)
                },
                &parameters.trainable(),
                &parameters.buffers(),
                &[0.1, 1.0],
            )
        };
        assert!(probe(0)?.smoothness() > 0.0);
        assert_eq!(parameters.to_safetensors()?, before);
        assert_eq!(probe(5).unwrap_err().to_string(), "model: call should be another, got 5");
        assert_eq!(parameters.to_safetensors()?, before);
        Ok(())
    }

    #[test]
    fn nan_is_kept_and_wrong_arguments_are_refused() -> Result<()> {
        let x = Var::new(0.25, &CPU)?;
        // √ has no value below 0: 0.25 − 1 · 1.
        let found = landscape(|| Ok(x.sqrt()?), &named(&[&x]), &[], &[0.1, 1.0])?;
        assert!(found.loss_range().0.is_nan() && found.loss_range().1.is_nan());
        assert!(found.smoothness().is_nan() && found.gradient_change().0.is_nan());
        let message = |sizes: &[f64], parameters: &[(String, Var)]| {
            landscape(|| Ok(x.unsqueeze(0)?), parameters, &[], sizes).unwrap_err().to_string()
        };
        assert_eq!(message(&[], &[]), "landscape: step_sizes should be at least one, got none");
        assert_eq!(message(&[0.0], &[]), "landscape: step_sizes should be finite and not 0, got 0");
        assert_eq!(message(&[1.0], &[]), "landscape: parameters should be at least one, got none");
        assert_eq!(
            message(&[1.0], &named(&[&x])),
            "landscape: loss should be a floating-point number, of shape [], got F64 of shape [1]"
        );
        Ok(())
    }
}
