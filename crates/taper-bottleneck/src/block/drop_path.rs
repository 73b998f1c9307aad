//! Stochastic depth.

use candle_core::Tensor;
use taper_core::{Error, Result, Stream, scale};

/// Leaves out the whole branch of a residual block, sample by sample, at random in training.
///
/// # Equation
/// Training: y_n = x_n · m_n / (1 − p), each m_n independently 1 with probability 1 − p, else 0.
/// Evaluation: y = x.
///
/// ```text
///        ┌───────────────────────────┐
///     x ─┴─ branch ── drop path ───── + ── y
/// ```
///
/// # Shapes
/// x (N, ...) with at least one more axis; y the same.
///
/// # Parameters
/// - `p`: the probability that a sample's branch is left out, in [0, 1). In a network it usually rises with the depth,
///   from 0 to 0.1 or more.
///
/// # Numerics
/// One number is drawn for each sample, and scaled before the product. With p = 0 nothing is drawn.
///
/// # Deviations
/// 1. The paper scales the branch by 1 − p in evaluation; here, as in timm and torchvision, by 1 / (1 − p) in
///    training.
/// 2. From timm: p = 1, which would leave nothing to train, is refused.
/// 3. From candle: the stream is an argument, so that a run can be repeated; the layer is no `ModuleT`.
///
/// # Errors
/// [`DropPath::new`] refuses a p outside [0, 1); `forward_t` in training an x of fewer than two axes.
///
/// # References
/// - Huang, Sun, Liu, Sedra and Weinberger 2016, Deep networks with stochastic depth, <https://arxiv.org/abs/1603.09382>.
/// - `torchvision.ops.StochasticDepth` in mode `row`.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use taper_bottleneck::DropPath;
/// use taper_core::stream;
///
/// let mut noise = stream(7, "drop path");
/// let x = Tensor::ones((1000, 2), DType::F64, &Device::Cpu)?;
/// let y = DropPath::new(0.2)?.forward_t(&x, true, &mut noise)?.to_vec2::<f64>()?;
/// assert!(y.iter().all(|y| *y == [0.0, 0.0] || *y == [1.25, 1.25]));
/// let left_out = y.iter().filter(|y| y[0] == 0.0).count();
/// assert!((160..240).contains(&left_out));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DropPath {
    p: f64,
}

impl DropPath {
    /// A branch that is left out with probability `p`.
    pub fn new(p: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::argument("DropPath::new", "p", "in [0, 1)", p));
        }
        Ok(Self { p })
    }

    /// The output in training, with numbers drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        if !train || self.p == 0.0 {
            return Ok(x.clone());
        }
        let &[samples, _, ..] = x.dims() else {
            let received = format!("{:?}", x.dims());
            return Err(Error::argument("DropPath::forward_t", "x", "(batch, ...)", received));
        };
        let mut shape = vec![1; x.rank()];
        shape[0] = samples;
        let keep = 1.0 - self.p;
        let kept = stream.bernoulli(keep, shape, x.dtype(), x.device())?;
        scale(x, &(kept * (1.0 / keep))?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use taper_core::stream;

    use super::*;

    #[test]
    fn the_same_stream_leaves_out_the_same_and_evaluation_nothing() -> Result<()> {
        let x = Tensor::ones((64, 3, 2, 2), DType::F32, &Device::Cpu)?;
        let drop = DropPath::new(0.5)?;
        let run = |seed, train| -> Result<Vec<f32>> {
            let y = drop.forward_t(&x, train, &mut stream(seed, "drop path"))?;
            Ok(y.flatten_all()?.to_vec1()?)
        };
        assert_eq!(run(1, true)?, run(1, true)?);
        assert_ne!(run(1, true)?, run(2, true)?);
        assert!(run(1, false)?.iter().all(|it| *it == 1.0));
        Ok(())
    }

    #[test]
    fn bad_input_is_named() -> Result<()> {
        let error = DropPath::new(1.0).unwrap_err().to_string();
        assert_eq!(error, "DropPath::new: p should be in [0, 1), got 1");
        let x = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
        let error = DropPath::new(0.5)?.forward_t(&x, true, &mut stream(0, "noise")).unwrap_err();
        assert_eq!(error.to_string(), "DropPath::forward_t: x should be (batch, ...), got [3]");
        Ok(())
    }
}
