//! Local response normalization across channels.

mod fused;

use candle_core::{DType, Module, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::{Error, Result, op};
use taper_kernels::norm::LocalResponseNorm as Kernel;

use crate::arguments::{expect_computable, is_half};

const NAME: &str = "LocalResponseNorm";
const FORWARD: &str = "LocalResponseNorm::forward";

/// How [`LocalResponseNorm::new`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalResponseNormConfig {
    /// n, the channels of a window.
    pub size: usize,
    /// α, what the mean of the window's squares is multiplied by.
    pub alpha: f64,
    /// β, the exponent.
    pub beta: f64,
    /// k, what is added to the squares.
    pub k: f64,
}

impl Default for LocalResponseNormConfig {
    fn default() -> Self {
        Self { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

/// Local response normalization: a value becomes smaller where the neighbouring channels are large at its place.
///
/// # Equation
/// y_c = x_c (k + α / n · Σ x_j²)^−β
///
/// with the sum over the channels j from c − ⌊n / 2⌋ to c + ⌊(n − 1) / 2⌋ as far as they are there, at one place
/// of one sample. n counts the channels that are not there too.
///
/// # Shapes
/// x (N, C, ...) with any number of further axes, also none; y the same.
///
/// # Parameters
/// There is nothing to train and no state. Of [`LocalResponseNormConfig`]:
/// - `size`: n, 5; at least 1. It may be more than C.
/// - `alpha`: α, 1e-4; at least 0.
/// - `beta`: β, 0.75; at least 0.
/// - `k`: 1; above 0, so that the base of the power is.
///
/// # Numerics
/// Each window is summed by itself, so that a NaN stays in the windows that it is in. On the CPU it is one operation
/// in each direction, whose result does not depend on the number of threads; a β of 0.5, 0.75 or 1 is computed by
/// square roots, any other by a power in f64. Elsewhere candle's operations compute. f16 and bf16 are computed in
/// f32; y has the dtype of x. Where squares overflow (from 2e19 in f32) y is 0, as in PyTorch.
///
/// # Deviations
/// 1. From the paper: α is divided by n. Its k = 2, n = 5, α = 1e-4, β = 0.75 are `alpha: 5e-4, k: 2.0` here.
/// 2. From PyTorch: `size` has a default, the paper's. An x of two axes is taken. An α or β below 0 and a k that is
///    not above 0, which can give NaN, are refused.
///
/// # Errors
/// [`LocalResponseNorm::new`] refuses values out of range. `forward` refuses an x that is not floating-point or has
/// fewer than two axes.
///
/// # References
/// - Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks,
///   section 3.3, <https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks>.
/// - `torch.nn.LocalResponseNorm`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.LocalResponseNorm.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_norm::{LocalResponseNorm, LocalResponseNormConfig};
///
/// let config = LocalResponseNormConfig { size: 3, alpha: 3.0, k: 11.0, ..Default::default() };
/// let norm = LocalResponseNorm::new(config)?;
///
/// // Two channels of one place. The base is 11 + 1 + 4 = 16 for both, and 16^0.75 is 8.
/// let x = Tensor::new(&[[[1.0], [2.0]]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// assert_eq!(y, [0.125, 0.25]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LocalResponseNorm {
    config: LocalResponseNormConfig,
}

impl LocalResponseNorm {
    /// A layer as `config` has it.
    pub fn new(config: LocalResponseNormConfig) -> Result<Self> {
        let LocalResponseNormConfig { size, alpha, beta, k } = config;
        if size == 0 {
            return Err(Error::argument(NAME, "size", "at least 1", size));
        }
        for (name, value) in [("alpha", alpha), ("beta", beta)] {
            // Written so that NaN is refused, here and below.
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Error::argument(NAME, name, "at least 0 and finite", value));
            }
        }
        if !(k > 0.0 && k.is_finite()) {
            return Err(Error::argument(NAME, "k", "above 0 and finite", k));
        }
        Ok(Self { config })
    }

    /// How the layer was made.
    pub fn config(&self) -> LocalResponseNormConfig {
        self.config
    }

    /// The twin of the fused operation in candle's operations.
    fn composed(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let LocalResponseNormConfig { size, alpha, beta, k } = self.config;
        let channels = x.dims()[1];
        // More neighbours than there are channels would be zeros only.
        let [before, behind] =
            [size / 2, (size - 1) / 2].map(|reach| reach.min(channels.saturating_sub(1)));
        let squares = x.sqr()?.pad_with_zeros(1, before, behind)?;
        let mut sums = squares.narrow(1, 0, channels)?;
        for neighbour in 1..=before + behind {
            sums = (sums + squares.narrow(1, neighbour, channels)?)?;
        }
        x / sums.affine(alpha / size as f64, k)?.powf(beta)?
    }
}

impl Module for LocalResponseNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let [samples, channels, places @ ..] = x.dims() else {
            let expected = "(N, C) with any number of further axes";
            let received = format!("{:?}", x.dims());
            return Err(Error::argument(FORWARD, "x", expected, received).into());
        };
        expect_computable(FORWARD, "x", x)?;
        if is_half(x.dtype()) {
            return self.forward(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype());
        }
        if !op::has_kernels(x) {
            return self.composed(x);
        }
        let LocalResponseNormConfig { size, alpha, beta, k } = self.config;
        let (samples, channels, places) = (*samples, *channels, places.iter().product());
        fused::apply(Kernel { samples, channels, places, size, alpha, beta, k }, x)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // Of two channels the window has the own one and the one before. The bases are 2, 6 and 14.
        let config = LocalResponseNormConfig { size: 2, alpha: 2.0, beta: 1.0, k: 1.0 };
        let x = Tensor::new(&[[[1.0], [2.0], [3.0]]], &Device::Cpu)?;
        let expected = Tensor::new(&[[[0.5], [1.0 / 3.0], [3.0 / 14.0]]], &Device::Cpu)?;
        let norm = LocalResponseNorm::new(config)?;
        assert_close(&norm.forward(&x)?, &expected, 1e-15);
        // As the paper has it, 2 + 1e-4 · Σ x² at five channels of 100.
        let config = LocalResponseNormConfig { alpha: 5e-4, k: 2.0, ..Default::default() };
        let y =
            LocalResponseNorm::new(config)?.forward(&Tensor::full(100.0, (1, 5), &Device::Cpu)?)?;
        let expected = [5.0, 6.0, 7.0, 6.0, 5.0].map(|base: f64| 100.0 / base.powf(0.75));
        assert_close(&y, &Tensor::new(&[expected], &Device::Cpu)?, 1e-14);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for shape in [vec![3, 40], vec![2, 7, 5], vec![2, 9, 6, 8], vec![1, 4, 3, 2, 3]] {
                let mut variable = || {
                    Var::from_tensor(&noise.normal(1.0, 2.0, &shape[..], dtype, &Device::Cpu)?)
                };
                let (x, upstream) = (variable()?, variable()?);
                for (size, beta) in [(1, 0.75), (2, 0.5), (5, 0.75), (5, 0.3), (6, 1.0), (99, 0.75)]
                {
                    let config = LocalResponseNormConfig { size, alpha: 0.7, beta, k: 1.5 };
                    let norm = LocalResponseNorm::new(config)?;
                    let run = |y: Tensor| -> Result<[Tensor; 2]> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let gradient = loss.backward()?.remove(&x);
                        Ok([y, gradient.ok_or_else(|| candle_core::Error::msg("no gradient"))?])
                    };
                    let (fused, composed) = (run(norm.forward(&x)?)?, run(norm.composed(&x)?)?);
                    for (fused, composed) in fused.iter().zip(&composed) {
                        assert_close(fused, composed, tolerance);
                    }
                }
            }
        }
        Ok(())
    }
}
