//! Clipping of gradients, between the backward pass and the optimizer's step.

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};

use crate::{Error, Result};

/// Scales all gradients by one factor so that their common norm is at most `max_norm`, and returns
/// the norm that they had.
///
/// # Equation
/// n = √(Σ g²) over every element of every gradient; g ← g · min(1, max_norm / (n + 1e-6)).
///
/// # Shapes
/// Gradients of any shapes; those of `parameters` without a gradient are left out.
///
/// # Parameters
/// - `max_norm`: at least 0; infinity measures only.
/// - `error_if_nonfinite`: whether a norm of NaN or infinity is an error. If not, an infinite norm
///   zeroes the finite gradients, and NaN spreads to all, as in PyTorch.
///
/// # Numerics
/// Squares are summed in f64: gradients of 1e30 in f32 have a finite norm.
///
/// # Deviations
/// 1. From PyTorch: the norm is summed in f64, and only the norm of order 2 is offered.
///
/// # Errors
/// A negative or NaN `max_norm`; a norm that is not finite where that is an error (the gradients are
/// then unchanged).
///
/// # References
/// - Pascanu, Mikolov and Bengio 2012, On the difficulty of training recurrent neural networks,
///   <https://arxiv.org/abs/1211.5063>.
/// - `torch.nn.utils.clip_grad_norm_`.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::clip_grad_norm;
///
/// let x = Var::new(&[1.5, 2.0], &Device::Cpu)?;
/// let mut gradients = x.sqr()?.sum_all()?.backward()?; // (3, 4)
/// let norm = clip_grad_norm(&mut gradients, &[("x".to_owned(), x.clone())], 1.0, true)?;
/// assert_eq!(norm, 5.0);
/// let clipped = gradients.get(&x).map(|g| g.to_vec1::<f64>()).transpose()?;
/// assert!(clipped.is_some_and(|g| (g[0] - 0.6).abs() < 1e-6 && (g[1] - 0.8).abs() < 1e-6));
/// # Ok(())
/// # }
/// ```
pub fn clip_grad_norm(
    gradients: &mut GradStore,
    parameters: &[(String, Var)],
    max_norm: f64,
    error_if_nonfinite: bool,
) -> Result<f64> {
    check("clip_grad_norm", "max_norm", max_norm)?;
    let mut squares = 0.0;
    for (_, var) in parameters {
        if let Some(gradient) = gradients.get(var) {
            let gradient = gradient.detach().to_dtype(DType::F64)?;
            squares += gradient.sqr()?.sum_all()?.to_scalar::<f64>()?;
        }
    }
    let norm = squares.sqrt();
    if error_if_nonfinite && !norm.is_finite() {
        let expected = "gradients with a finite norm; lower the learning rate or look for the first \
                        operation that gives NaN or infinity";
        return Err(Error::argument("clip_grad_norm", "gradients", expected, norm));
    }
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 || factor.is_nan() {
        replace(gradients, parameters, |gradient| Ok((gradient * factor)?))?;
    }
    Ok(norm)
}

/// Moves every element of every gradient into [−`clip_value`, `clip_value`].
///
/// # Equation
/// g ← min(max(g, −c), c)
///
/// # Shapes
/// Gradients of any shapes; those of `parameters` without a gradient are left out.
///
/// # Parameters
/// - `clip_value`: c, at least 0.
///
/// # Numerics
/// Exact. Infinities become ±c; NaN stays.
///
/// # Deviations
/// None.
///
/// # Errors
/// A negative or NaN `clip_value`.
///
/// # References
/// - `torch.nn.utils.clip_grad_value_`.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::clip_grad_value;
///
/// let x = Var::new(&[-1.5, 0.25], &Device::Cpu)?;
/// let mut gradients = x.sqr()?.sum_all()?.backward()?; // (-3, 0.5)
/// clip_grad_value(&mut gradients, &[("x".to_owned(), x.clone())], 1.0)?;
/// let clipped = gradients.get(&x).map(|g| g.to_vec1::<f64>()).transpose()?;
/// assert_eq!(clipped, Some(vec![-1.0, 0.5]));
/// # Ok(())
/// # }
/// ```
pub fn clip_grad_value(
    gradients: &mut GradStore,
    parameters: &[(String, Var)],
    clip_value: f64,
) -> Result<()> {
    check("clip_grad_value", "clip_value", clip_value)?;
    replace(gradients, parameters, |gradient| Ok(gradient.clamp(-clip_value, clip_value)?))
}

fn check(operation: &'static str, argument: &str, limit: f64) -> Result<()> {
    if limit >= 0.0 {
        return Ok(());
    }
    Err(Error::argument(operation, argument, "at least 0", limit))
}

fn replace(
    gradients: &mut GradStore,
    parameters: &[(String, Var)],
    clipped: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    for (_, var) in parameters {
        // Detached: candle's gradients hold on to the graph that they came from.
        if let Some(gradient) = gradients.get(var).map(Tensor::detach) {
            gradients.insert(var, clipped(&gradient)?);
        }
    }
    Ok(())
}
