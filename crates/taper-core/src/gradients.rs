//! Gradients of parameters that are written in place.

mod destination;
mod slots;
mod store;

use candle_core::{Tensor, Var};
pub use destination::Destination;
use slots::{Active, Slots};
pub use store::{Gradient, GradientStore};

use crate::{Error, Result};

/// The gradients of a fixed set of parameters, in buffers that are reused from step to step.
///
/// # Equation
/// [`backward`](Self::backward): g ← ∂ loss / ∂ θ; [`accumulate`](Self::accumulate): g ← g + ∂ loss / ∂ θ.
///
/// # Shapes
/// The loss (), or of any shape, which stands for the sum of its elements; each gradient has the shape and dtype of its parameter.
///
/// # Parameters
/// - `parameters`: the variables, such as those of [`Parameters::trainable`](crate::Parameters::trainable).
///
/// # Numerics
/// The operations of the Taper crates write the gradient of a parameter straight into its buffer; what
/// candle's own operations find for the same parameter is added to it. The values are those of candle's
/// `backward` up to the order of the sums.
///
/// # Deviations
/// 1. From candle's `backward`: only the gradients of `parameters` are kept, and no memory is allocated for
///    them after the first step.
/// 2. From PyTorch: `backward` replaces, so there is no `zero_grad`; `accumulate` adds.
/// 3. A custom operation whose `bwd` runs a backward pass of its own does so with `Gradients` of its own:
///    under candle's `backward` the gradients of the registered parameters would go here.
///
/// # Errors
/// A variable that is not floating-point, or the same one twice; a question for the gradient of another variable, so that none is left untrained
/// unnoticed; what the backward pass reports, which leaves no gradient, as does a panic in it.
///
/// # References
/// - `torch.Tensor.backward`, <https://docs.pytorch.org/docs/stable/generated/torch.Tensor.backward.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::Gradients;
///
/// let x = Var::new(&[1.0, 2.0], &Device::Cpu)?;
/// let mut gradients = Gradients::new([&x])?;
/// gradients.backward(&x.sqr()?.sum_all()?)?;
/// // A second micro-batch.
/// gradients.accumulate(&x.sum_all()?)?;
/// let gradient = gradients.gradient(&x)?.expect("x is in both losses");
/// assert_eq!(gradient.to_vec1::<f64>()?, [3.0, 5.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gradients {
    slots: Slots,
}

impl Gradients {
    /// Room for the gradients of `parameters`; none of them has one yet.
    pub fn new<'a>(parameters: impl IntoIterator<Item = &'a Var>) -> Result<Self> {
        let mut slots = Slots::default();
        for (at, parameter) in parameters.into_iter().enumerate() {
            if !parameter.dtype().is_float() {
                let received = format!("number {at} of {:?}", parameter.dtype());
                let expected = "floating-point variables";
                return Err(Error::argument("Gradients::new", "parameters", expected, received));
            }
            if !slots.add(parameter) {
                let expected = "each variable once";
                let received = format!("number {at} twice");
                return Err(Error::argument("Gradients::new", "parameters", expected, received));
            }
        }
        Ok(Self { slots })
    }

    /// The gradients of `loss`, in place of those that were here.
    pub fn backward(&mut self, loss: &Tensor) -> Result<()> {
        self.slots.clear();
        self.accumulate(loss)
    }

    /// Adds the gradients of `loss` to those that are here, as for the next micro-batch.
    pub fn accumulate(&mut self, loss: &Tensor) -> Result<()> {
        let store = {
            let mut active = Active::new(&mut self.slots);
            let store = loss.backward()?;
            active.end();
            store
        };
        let added = self.slots.add_from(&store);
        if added.is_err() {
            self.slots.clear();
        }
        added
    }

    /// A copy of the gradient of `parameter`; `None` where the losses so far do not depend on it.
    pub fn gradient(&self, parameter: &Var) -> Result<Option<Tensor>> {
        self.get(parameter)?.map(|gradient| gradient.to_tensor()).transpose()
    }
}
