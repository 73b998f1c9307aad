//! Dropout with a random stream of the caller's.

use candle_core::Tensor;

use crate::{Error, Result, Stream};

/// Sets elements to zero at random in training.
///
/// # Equation
/// Training: y = x · m / (1 − p), each m independently 1 with probability 1 − p, else 0.
/// Evaluation: y = x.
///
/// # Shapes
/// Any; y as x.
///
/// # Parameters
/// - `p`: the probability of a zero, in [0, 1).
///
/// # Numerics
/// The mask is drawn in f64 and scaled before the product, so one product is rounded. With p = 0
/// nothing is drawn.
///
/// # Deviations
/// 1. From PyTorch: p = 1, which would leave nothing to train, is refused.
/// 2. From candle: the stream is an argument, so that a run can be repeated; the layer is no `ModuleT`.
///
/// # Errors
/// [`Dropout::new`] refuses a p outside [0, 1); `forward_t` an x that is not floating-point.
///
/// # References
/// - Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014, Dropout: a simple way to
///   prevent neural networks from overfitting.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_core::{Dropout, stream};
///
/// let mut noise = stream(7, "dropout");
/// let x = Tensor::ones(1000, DType::F64, &Device::Cpu)?;
/// let y = Dropout::new(0.2)?.forward_t(&x, true, &mut noise)?.to_vec1::<f64>()?;
/// assert!(y.iter().all(|y| *y == 0.0 || *y == 1.25));
/// let zeros = y.iter().filter(|y| **y == 0.0).count();
/// assert!((160..240).contains(&zeros));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Dropout that zeroes with probability `p`.
    pub fn new(p: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::argument("Dropout::new", "p", "in [0, 1)", p));
        }
        Ok(Self { p })
    }

    /// The output in training, with a mask drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        if !x.dtype().is_float() {
            let received = format!("{:?}", x.dtype());
            return Err(Error::argument("Dropout::forward_t", "x", "floating-point", received));
        }
        if !train || self.p == 0.0 {
            return Ok(x.clone());
        }
        let keep = 1.0 - self.p;
        let mask = stream.bernoulli(keep, x.shape(), x.dtype(), x.device())?;
        Ok((x * (mask * (1.0 / keep))?)?)
    }
}
