//! The size of each parameter's gradient.

use candle_core::Var;
use taper_core::{GradientStore, Result};

use super::slope::norm;

/// What [`gradient_norms`] finds.
#[derive(Debug, Clone, PartialEq)]
pub struct GradientNorms {
    /// Each parameter's name and the norm of its gradient, in the order they were given.
    pub each: Vec<(String, f64)>,
    /// The norm of all gradients together.
    pub global: f64,
}

/// The l2 norms of the gradients of named parameters, each and all together.
///
/// # Equation
/// n_i = √(Σ g_i²), n = √(Σ_i n_i²)
///
/// # Shapes
/// Gradients of any shapes; one norm a parameter.
///
/// # Parameters
/// - `gradients`: candle's or [`Gradients`](taper_core::Gradients), after a backward pass.
/// - `parameters`: such as those of [`Parameters::trainable`](taper_core::Parameters::trainable).
///
/// # Numerics
/// Squares are summed in f64: gradients of 1e30 in f32 have a finite norm. A parameter that the loss does not depend
/// on has the norm 0.
///
/// # Deviations
/// 1. From [`taper_core::clip_grad_norm`], which also measures: nothing is scaled, and each norm is returned.
///
/// # Errors
/// A parameter that the [`Gradients`](taper_core::Gradients) were not made for.
///
/// # References
/// - Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks, section 4
///   (gradients layer by layer as a sign of how a network will train).
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_norm::gradient_norms;
///
/// let (x, y) = (Var::new(&[1.5, 2.0], &Device::Cpu)?, Var::new(6.0, &Device::Cpu)?);
/// let loss = (x.sqr()?.sum_all()? + (y.as_tensor() * 12.0)?)?;
/// let parameters = [("x".to_owned(), x), ("y".to_owned(), y)];
/// let norms = gradient_norms(&loss.backward()?, &parameters)?;
/// assert_eq!(norms.each, [("x".to_owned(), 5.0), ("y".to_owned(), 12.0)]);
/// assert_eq!(norms.global, 13.0);
/// # Ok(())
/// # }
/// ```
pub fn gradient_norms(
    gradients: &dyn GradientStore,
    parameters: &[(String, Var)],
) -> Result<GradientNorms> {
    let mut each = Vec::with_capacity(parameters.len());
    let mut squares = 0.0;
    for (name, variable) in parameters {
        let of_this = match gradients.get(variable)? {
            Some(gradient) => norm(&[gradient.to_tensor()?])?,
            None => 0.0,
        };
        squares += of_this * of_this;
        each.push((name.clone(), of_this));
    }
    Ok(GradientNorms { each, global: squares.sqrt() })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::Gradients;

    use super::*;

    #[test]
    fn a_parameter_outside_the_loss_has_none_and_large_gradients_do_not_overflow() -> Result<()> {
        let (x, idle) = (Var::new(&[1f32, 1.0], &Device::Cpu)?, Var::new(1f32, &Device::Cpu)?);
        let mut gradients = Gradients::new([&x, &idle])?;
        gradients.backward(&(x.as_tensor() * 1e30)?.sum_all()?)?;
        let parameters = [("x".to_owned(), x.clone()), ("idle".to_owned(), idle)];
        let norms = gradient_norms(&gradients, &parameters)?;
        assert!((norms.global / (1e30 * 2f64.sqrt()) - 1.0).abs() < 1e-6);
        assert_eq!(norms.each[1], ("idle".to_owned(), 0.0));
        // Of other gradients none is made up.
        let other = [("other".to_owned(), Var::new(1f32, &Device::Cpu)?)];
        assert!(gradient_norms(&gradients, &other).is_err());
        assert_eq!(gradients.gradient(&x)?.expect("kept").to_vec1::<f32>()?, [1e30; 2]);
        Ok(())
    }
}
