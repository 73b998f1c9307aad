//! Local response normalization across channels.

use candle_core::{Module, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::{Error, Result, op};

use crate::arguments::expect_computable;

const NAME: &str = "LocalResponseNorm";
const FORWARD: &str = "LocalResponseNorm::forward";

/// How a [`LocalResponseNorm`] is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalResponseNormConfig {
    /// How many channels are summed over.
    pub size: usize,
    /// The weight of the mean of the squares.
    pub alpha: f64,
    /// The power.
    pub beta: f64,
    /// What is added to the weighted mean.
    pub k: f64,
}

impl Default for LocalResponseNormConfig {
    fn default() -> Self {
        Self { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 }
    }
}

/// Local response normalization: each value is divided by a power of the mean square of the same place in the
/// neighbouring channels. It has no parameters to learn.
///
/// # Equation
/// y_c = x_c / (k + α / n · Σ x_j²)^β
///
/// with the sum over the channels j from c − ⌊n / 2⌋ to c + ⌊(n − 1) / 2⌋, where channels that do not exist count as 0.
///
/// # Shapes
/// x (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), y the same.
///
/// # Parameters
/// Of [`LocalResponseNormConfig`]:
/// - `size`: n, 5; at least 1.
/// - `alpha`: α, 1e-4; at least 0.
/// - `beta`: β, 0.75; finite.
/// - `k`: 1; above 0, so that nothing is divided by 0.
///
/// # Numerics
/// It is composed of candle's operations on every device. f16 and bf16 are computed in f32; y has the dtype of x. A
/// square that overflows f32 (from 1.8e19 on) makes y 0 in its window.
///
/// # Deviations
/// 1. From the paper: α is divided by the size, as in PyTorch; the paper's 1e-4 with 5 channels is 5e-4 here. The
///    paper's k is 2.
/// 2. From PyTorch: `size` has a default, the paper's; (N, C) is accepted; a `k` of 0 is not.
///
/// # Errors
/// [`LocalResponseNorm::new`] refuses a `size` of 0 and numbers out of range. `forward` refuses an x that is not
/// floating-point or has another number of axes.
///
/// # References
/// - Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks,
///   section 3.3.
/// - `torch.nn.LocalResponseNorm`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.LocalResponseNorm.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Module, Tensor};
/// use taper_norm::{LocalResponseNorm, LocalResponseNormConfig};
///
/// let config = LocalResponseNormConfig { size: 2, alpha: 2.0, beta: 1.0, k: 1.0 };
/// let norm = LocalResponseNorm::new(config)?;
///
/// // The windows are {1}, {1, 2} and {2, 3}: 1 + 1, 1 + 5 and 1 + 13.
/// let x = Tensor::new(&[[1.0, 2.0, 3.0]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// let expected = [1.0 / 2.0, 2.0 / 6.0, 3.0 / 14.0];
/// assert!(y.iter().zip(expected).all(|(y, expected)| (y - expected).abs() < 1e-12));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LocalResponseNorm {
    config: LocalResponseNormConfig,
}

impl LocalResponseNorm {
    /// A layer of these numbers.
    pub fn new(config: LocalResponseNormConfig) -> Result<Self> {
        let LocalResponseNormConfig { size, alpha, beta, k } = config;
        if size == 0 {
            return Err(Error::argument(NAME, "size", "at least 1", size));
        }
        // Written so that NaN is refused.
        if !(alpha >= 0.0 && alpha.is_finite()) {
            return Err(Error::argument(NAME, "alpha", "at least 0 and finite", alpha));
        }
        if !beta.is_finite() {
            return Err(Error::argument(NAME, "beta", "finite", beta));
        }
        if !(k > 0.0 && k.is_finite()) {
            return Err(Error::argument(NAME, "k", "above 0 and finite", k));
        }
        Ok(Self { config })
    }
}

impl Module for LocalResponseNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        expect_computable(FORWARD, "x", x)?;
        if !(2..=5).contains(&x.rank()) {
            let received = format!("{:?}", x.dims());
            return Err(Error::argument(FORWARD, "x", "of 2 to 5 axes", received).into());
        }
        let LocalResponseNormConfig { size, alpha, beta, k } = self.config;
        let (wide, channels) = (op::widen(x)?, x.dims()[1]);
        if x.elem_count() == 0 {
            return Ok(x.clone());
        }
        let squares = wide.sqr()?;
        let mut sum = squares.clone();
        // Further away there is no channel.
        for distance in 1..channels.min(size) {
            let length = channels - distance;
            if distance <= size / 2 {
                let before = squares.narrow(1, 0, length)?.pad_with_zeros(1, distance, 0)?;
                sum = (sum + before)?;
            }
            if distance <= (size - 1) / 2 {
                let after = squares.narrow(1, distance, length)?.pad_with_zeros(1, 0, distance)?;
                sum = (sum + after)?;
            }
        }
        let divisor = sum.affine(alpha / size as f64, k)?.powf(beta)?;
        (wide / divisor)?.to_dtype(x.dtype())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers_of_an_odd_window() -> Result<()> {
        let config = LocalResponseNormConfig { size: 3, alpha: 3.0, beta: 0.5, k: 2.0 };
        let norm = LocalResponseNorm::new(config)?;
        // 2 + 1 + 4, 2 + 1 + 4 + 9, 2 + 4 + 9.
        let x = Tensor::new(&[[[1.0], [2.0], [-3.0]]], &Device::Cpu)?;
        let expected = [[[7f64.sqrt().recip()], [0.5], [-3.0 / 15f64.sqrt()]]];
        assert_close(&norm.forward(&x)?, &Tensor::new(&expected, &Device::Cpu)?, 1e-14);
        Ok(())
    }
}
