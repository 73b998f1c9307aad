//! A loss and its gradient at the present values of some variables.

use candle_core::{DType, Tensor, Var};
use taper_core::{Error, GradientStore, Gradients, Result};

/// Loss and gradient of a model.
pub(super) struct Slope<F> {
    operation: &'static str,
    loss: F,
    variables: Vec<Var>,
    gradients: Gradients,
}

impl<F: FnMut() -> Result<Tensor>> Slope<F> {
    /// `operation` is who asks, for messages.
    pub(super) fn new(operation: &'static str, loss: F, variables: Vec<Var>) -> Result<Self> {
        if variables.is_empty() {
            return Err(Error::argument(operation, "parameters", "at least one", "none"));
        }
        let gradients = Gradients::new(&variables)?;
        Ok(Self { operation, loss, variables, gradients })
    }

    /// The loss, and its gradient with respect to each variable: 0 for one that it does not depend on.
    pub(super) fn here(&mut self) -> Result<(f64, Vec<Tensor>)> {
        let loss = (self.loss)()?;
        if loss.rank() != 0 || !loss.dtype().is_float() {
            let received = format!("{:?} of shape {:?}", loss.dtype(), loss.dims());
            let expected = "a floating-point number, of shape []";
            return Err(Error::argument(self.operation, "loss", expected, received));
        }
        self.gradients.backward(&loss)?;
        let of = |variable: &Var| match self.gradients.get(variable)? {
            Some(gradient) => gradient.to_tensor(),
            None => Ok(variable.zeros_like()?),
        };
        let gradients = self.variables.iter().map(of).collect::<Result<_>>()?;
        Ok((loss.to_dtype(DType::F64)?.to_scalar()?, gradients))
    }
}

/// √Σ g², over all elements of all tensors, in f64.
pub(super) fn norm(tensors: &[Tensor]) -> Result<f64> {
    Ok(sum(tensors.iter().map(|g| g.to_dtype(DType::F64)?.sqr()))?.sqrt())
}

/// √Σ (a − b)², in f64.
pub(super) fn distance(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    let squares = a.iter().zip(b);
    let squares = squares.map(|(a, b)| (a.to_dtype(DType::F64)? - b.to_dtype(DType::F64)?)?.sqr());
    Ok(sum(squares)?.sqrt())
}

/// Σ a b, in f64.
pub(super) fn dot(a: &[Tensor], b: &[Tensor]) -> Result<f64> {
    sum(a.iter().zip(b).map(|(a, b)| a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?))
}

fn sum(products: impl Iterator<Item = candle_core::Result<Tensor>>) -> Result<f64> {
    let mut sum = 0.0;
    for product in products {
        sum += product?.sum_all()?.to_scalar::<f64>()?;
    }
    Ok(sum)
}
