//! Clipping of gradients, between the backward pass and the optimizer's step.

use candle_core::{Tensor, Var};
use taper_kernels::optim;

use crate::op::Scalar;
use crate::{Error, Gradient, GradientStore, Result};

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
/// - `gradients`: candle's or [`Gradients`](crate::Gradients), which are scaled in place.
/// - `max_norm`: at least 0; infinity measures only.
/// - `error_if_nonfinite`: whether a norm of NaN or infinity is an error. If not, an infinite norm
///   zeroes the finite gradients, and NaN spreads to all, as in PyTorch.
///
/// # Numerics
/// Squares are summed in f64: gradients of 1e30 in f32 have a finite norm.
/// [`Optimizer::step_clipped`](crate::optim::Optimizer::step_clipped) does the same within the step, which
/// saves a pass over the gradients and leaves them as they are.
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
    gradients: &mut dyn GradientStore,
    parameters: &[(String, Var)],
    max_norm: f64,
    error_if_nonfinite: bool,
) -> Result<f64> {
    check("clip_grad_norm", "max_norm", max_norm)?;
    let found = parameters.iter().filter_map(|(_, var)| gradients.get(var).transpose());
    let norm = norm(found.collect::<Result<_>>()?)?;
    if error_if_nonfinite {
        finite("clip_grad_norm", norm)?;
    }
    if let Some(factor) = factor(norm, max_norm) {
        for (_, var) in parameters {
            gradients.clip(var, Clip::Scale(factor))?;
        }
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
/// - `gradients`: candle's or [`Gradients`](crate::Gradients), which are changed in place.
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
    gradients: &mut dyn GradientStore,
    parameters: &[(String, Var)],
    clip_value: f64,
) -> Result<()> {
    check("clip_grad_value", "clip_value", clip_value)?;
    parameters.iter().try_for_each(|(_, var)| gradients.clip(var, Clip::Clamp(clip_value)))
}

/// What a step on gradients clipped to `max_norm` needs: the norm that they have, and the factor.
pub(crate) fn clipping(gradients: Vec<Gradient<'_>>, max_norm: f64) -> Result<(f64, f64)> {
    check("step_clipped", "max_norm", max_norm)?;
    let norm = norm(gradients)?;
    finite("step_clipped", norm)?;
    Ok((norm, factor(norm, max_norm).unwrap_or(1.0)))
}

fn check(operation: &'static str, argument: &str, limit: f64) -> Result<()> {
    if limit >= 0.0 {
        return Ok(());
    }
    Err(Error::argument(operation, argument, "at least 0", limit))
}

fn finite(operation: &'static str, norm: f64) -> Result<()> {
    if norm.is_finite() {
        return Ok(());
    }
    let expected = "gradients with a finite norm; lower the learning rate or look for the first \
                    operation that gives NaN or infinity";
    Err(Error::argument(operation, "gradients", expected, norm))
}

/// The square root of the sum of all squares, added up in the order of the gradients.
fn norm(gradients: Vec<Gradient<'_>>) -> Result<f64> {
    let mut sums: Vec<_> = gradients.into_iter().map(|gradient| (gradient, Ok(0.0))).collect();
    optim::for_each(
        &mut sums,
        |(gradient, _)| gradient.elem_count(),
        |(gradient, sum)| *sum = gradient.sum_of_squares(),
    );
    let mut squares = 0.0;
    for (_, sum) in sums {
        squares += sum?;
    }
    Ok(squares.sqrt())
}

/// What the gradients are multiplied with; `None` where they stay as they are.
fn factor(norm: f64, max_norm: f64) -> Option<f64> {
    let factor = max_norm / (norm + 1e-6);
    (factor < 1.0 || factor.is_nan()).then_some(factor)
}

/// A change of one gradient.
#[derive(Debug, Clone, Copy)]
pub enum Clip {
    /// Times this.
    Scale(f64),
    /// Into plus or minus this.
    Clamp(f64),
}

impl Clip {
    /// In place.
    pub(crate) fn kernel<T: Scalar>(self, gradient: &mut [T]) {
        match self {
            Self::Scale(factor) => optim::scale(gradient, factor),
            Self::Clamp(limit) => optim::clamp(gradient, limit),
        }
    }

    /// The twin of [`kernel`](Self::kernel) in candle's operations.
    pub(crate) fn composed(self, gradient: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Scale(factor) => (gradient * factor)?,
            Self::Clamp(limit) => gradient.clamp(-limit, limit)?,
        })
    }
}
