//! Batch normalization whose outputs get back what it took away, as random noise.

use candle_core::{DType, Module, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use taper_core::{Activation, Error, Result, Stream, add, op};

use super::{BatchNorm, BatchNormConfig, batch_norm};
use crate::arguments::expect_like_x;

/// The noise of a [`NoisyBatchNorm`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// n_μ: a unit's mean shift is from −n_μ to n_μ.
    pub mean_range: f64,
    /// n_σ: a unit's mean scale is from 1 to n_σ.
    pub scale_range: f64,
    /// r_μ: how far an activation's shift may be from that of its unit.
    pub mean_spread: f64,
    /// r_σ: the standard deviation of an activation's scale about that of its unit.
    pub scale_spread: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { mean_range: 0.5, scale_range: 1.25, mean_spread: 0.1, scale_spread: 0.1 }
    }
}

/// How [`noisy_batch_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct NoisyBatchNormConfig {
    /// The normalization before the noise; its activation comes after the noise.
    pub norm: BatchNormConfig,
    /// The noise.
    pub noise: Noise,
}

/// A noisy batch normalization layer of `vb`'s entries, which are those of [`batch_norm`]; see
/// [`NoisyBatchNorm`].
pub fn noisy_batch_norm(
    num_features: usize,
    config: NoisyBatchNormConfig,
    vb: VarBuilder,
) -> Result<NoisyBatchNorm> {
    NoisyBatchNorm::new(batch_norm(num_features, config.norm, vb)?, config.noise)
}

/// Batch normalization followed, in training, by noise whose mean is not 0, whose variance is not 1, and whose
/// distribution is another one at every step: the probe of Santurkar et al. for whether batch normalization
/// helps because it keeps the distributions of activations in place.
///
/// # Equation
/// y = f(s z + m + r) with z = γ x̂ + β of [`BatchNorm`]
///
/// In training, at every call:
/// - for each unit (channel) c: μ_c ~ U(−n_μ, n_μ), σ_c ~ U(1, n_σ);
/// - for each activation of it: m ~ U(μ_c − r_μ, μ_c + r_μ), s ~ N(σ_c, r_σ²).
///
/// In evaluation s = 1, m = 0.
///
/// # Shapes
/// x (N, C) with up to 3 more axes, r and y the same; μ, σ (C); m, s as x.
///
/// # Parameters
/// Of [`NoisyBatchNormConfig`]: `norm`, and of its `noise`
/// - `mean_range` n_μ: 0.5; at least 0.
/// - `scale_range` n_σ: 1.25; at least 1.
/// - `mean_spread` r_μ: 0.1; at least 0.
/// - `scale_spread` r_σ: 0.1; at least 0.
///
/// The algorithm is that of the paper's appendix ("noisy" BatchNorm), and so are the values, as far as we know.
///
/// # Numerics
/// Drawn in f64 in the order μ, σ, m, s, each row-major, and rounded to the dtype of the computation, which is
/// f32 for half precision. The gradient takes m and s as constants: that of z is s times that of y. Running
/// statistics are of x, before any noise.
///
/// # Deviations
/// 1. From the paper: r_σ is taken for the standard deviation of s; the paper writes N(σ, r_σ).
/// 2. From the paper: a unit of an input with places is a channel, and each place draws its own m and s; the paper
///    writes samples and units only.
/// 3. Ours: the noise comes before the activation and the residual, and is left out of evaluation.
/// 4. The defaults were set without the paper's text at hand: compare them before a claim rests on them.
/// 5. As in [`taper_core::Dropout`] the stream is an argument, so that a run can be repeated; the layer is no
///    `ModuleT`.
///
/// # Errors
/// [`NoisyBatchNorm::new`] refuses noise out of range or not finite; `forward_t` what that of [`BatchNorm`]
/// refuses.
///
/// # References
/// - Santurkar, Tsipras, Ilyas and Madry 2018, How does batch normalization help optimization?, section 2 and
///   appendix, <https://arxiv.org/abs/1805.11604>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use taper_core::{Parameters, stream};
/// use taper_norm::{NoisyBatchNormConfig, noisy_batch_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = noisy_batch_norm(1, NoisyBatchNormConfig::default(), vb)?;
///
/// let mut noise = stream(7, "noise");
/// let x = Tensor::new(&[[1.0], [5.0]], &Device::Cpu)?;
/// // -1 and 1, each times about σ and plus about μ.
/// let y = norm.forward_t(&x, true, &mut noise)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(-2.3 < y[0] && y[0] < 0.2 && -0.2 < y[1] && y[1] < 2.3);
/// assert!((y[0] + 1.0).abs() > 1e-3);
///
/// let y = norm.forward_t(&x, false, &mut noise)?;
/// assert_eq!(y.to_vec2::<f64>()?, norm.norm().forward_t(&x, false)?.to_vec2::<f64>()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NoisyBatchNorm {
    /// Without activation.
    norm: BatchNorm,
    activation: Activation,
    noise: Noise,
}

impl NoisyBatchNorm {
    /// Noise after `norm`, but before its activation.
    pub fn new(norm: BatchNorm, noise: Noise) -> Result<Self> {
        let Noise { mean_range, scale_range, mean_spread, scale_spread } = noise;
        let sizes = [
            ("mean_range", mean_range, 0.0),
            ("scale_range", scale_range, 1.0),
            ("mean_spread", mean_spread, 0.0),
            ("scale_spread", scale_spread, 0.0),
        ];
        for (argument, size, least) in sizes {
            // Written so that NaN is refused.
            if !(size >= least && size.is_finite()) {
                let expected = format!("finite and at least {least}");
                return Err(Error::argument("NoisyBatchNorm", argument, expected, size));
            }
        }
        let (norm, activation) = norm.split_activation();
        Ok(Self { norm, activation, noise })
    }

    /// The normalization, without the activation: parameters and running statistics.
    pub fn norm(&self) -> &BatchNorm {
        &self.norm
    }

    /// The output in training, with noise drawn from `stream`, or in evaluation, with none drawn.
    pub fn forward_t(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.forward(x, None, train, stream)
    }

    /// [`forward_t`](Self::forward_t) with a residual of the shape of `x`, which gets no noise.
    pub fn forward_residual_t(
        &self,
        x: &Tensor,
        residual: &Tensor,
        train: bool,
        stream: &mut Stream,
    ) -> Result<Tensor> {
        expect_like_x("NoisyBatchNorm::forward_residual_t", "residual", residual, x)?;
        self.forward(x, Some(residual), train, stream)
    }

    fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        train: bool,
        stream: &mut Stream,
    ) -> Result<Tensor> {
        let dtype = x.dtype();
        let z = self.norm.forward_t(&op::widen(x)?, train)?;
        let y = if train { self.disturb(&z, stream)? } else { z };
        let y = match residual {
            Some(residual) => add(&y, &op::widen(residual)?, self.activation)?,
            None => self.activation.forward(&y)?,
        };
        Ok(y.to_dtype(dtype)?)
    }

    fn disturb(&self, z: &Tensor, stream: &mut Stream) -> Result<Tensor> {
        let Noise { mean_range, scale_range, mean_spread, scale_spread } = self.noise;
        let (dtype, device) = (z.dtype(), z.device());
        let mut units = vec![1; z.rank()];
        units[1] = z.dims()[1];
        let mean = stream.uniform(-mean_range, mean_range, units.as_slice(), DType::F64, device)?;
        let scale = stream.uniform(1.0, scale_range, units.as_slice(), DType::F64, device)?;
        let shift = stream.uniform(-mean_spread, mean_spread, z.shape(), dtype, device)?;
        let shift = shift.broadcast_add(&mean.to_dtype(dtype)?)?;
        let factor = stream.normal(0.0, scale_spread, z.shape(), dtype, device)?;
        let factor = factor.broadcast_add(&scale.to_dtype(dtype)?)?;
        Ok(((z * factor)? + shift)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};
    use taper_core::testing::assert_close;
    use taper_core::{Parameters, stream};

    use super::*;

    const CPU: Device = Device::Cpu;

    fn layer(noise: Noise, activation: Activation) -> Result<NoisyBatchNorm> {
        let parameters = Parameters::new(&stream(0, "init"));
        let norm = BatchNormConfig { eps: 1e-14, activation, ..Default::default() };
        let config = NoisyBatchNormConfig { norm, noise };
        noisy_batch_norm(2, config, parameters.builder(DType::F64, &CPU))
    }

    /// Normalised to −1, −1 and 1, 1.
    fn x() -> Result<Tensor> {
        Ok(Tensor::new(&[[1.0, 2.0], [5.0, 8.0]], &CPU)?)
    }

    #[test]
    fn hand_numbers_from_the_same_stream() -> Result<()> {
        let noise =
            Noise { mean_range: 2.0, scale_range: 3.0, mean_spread: 0.5, scale_spread: 0.25 };
        let norm = layer(noise, Activation::Relu)?;
        let residual = Tensor::new(&[[0.5, 4.0], [-9.0, 1.0]], &CPU)?;
        let y = norm.forward_residual_t(&x()?, &residual, true, &mut stream(1, "noise"))?;
        let mut draws = stream(1, "noise");
        let mean = [0; 2].map(|_| -2.0 + 4.0 * draws.unit());
        let scale = [0; 2].map(|_| 1.0 + 2.0 * draws.unit());
        let shift = [0; 4].map(|_| -0.5 + draws.unit());
        let factor = [0; 4].map(|_| 0.25 * draws.standard_normal());
        let z = [-1.0, -1.0, 1.0, 1.0];
        let residual = [0.5, 4.0, -9.0, 1.0];
        let expected: [f64; 4] = std::array::from_fn(|at| {
            let unit = at % 2;
            let y = z[at] * (scale[unit] + factor[at]) + mean[unit] + shift[at];
            (y + residual[at]).max(0.0)
        });
        assert!(expected[1] > 0.0 && expected[2] == 0.0);
        assert_close(&y.flatten_all()?, &Tensor::new(&expected, &CPU)?, 1e-12);
        Ok(())
    }

    #[test]
    fn no_noise_is_batch_norm_and_evaluation_draws_nothing() -> Result<()> {
        let none = Noise { mean_range: 0.0, scale_range: 1.0, mean_spread: 0.0, scale_spread: 0.0 };
        let norm = layer(none, Activation::Identity)?;
        let mut noise = stream(1, "noise");
        let y = norm.forward_t(&x()?, true, &mut noise)?;
        assert_close(&y, &Tensor::new(&[[-1.0, -1.0], [1.0, 1.0]], &CPU)?, 1e-12);
        let norm = layer(Noise::default(), Activation::Identity)?;
        let mut untouched = noise.clone();
        let y = norm.forward_t(&x()?, false, &mut noise)?;
        assert_close(&y, &norm.norm().forward_t(&x()?, false)?, 0.0);
        assert_eq!(noise.next_u64(), untouched.next_u64());
        Ok(())
    }

    #[test]
    fn the_distribution_changes_with_every_step_and_is_that_of_the_unit() -> Result<()> {
        let norm = layer(Noise::default(), Activation::Identity)?;
        let mut noise = stream(2, "noise");
        let x = stream(3, "x").normal(5.0, 3.0, (4000, 2), DType::F64, &CPU)?;
        let mut seen = Vec::new();
        for _ in 0..8 {
            let y = norm.forward_t(&x, true, &mut noise)?;
            let mean = y.mean(0)?;
            // E[s²] E[z²] + Var[m] = σ² + r_σ² + r_μ² / 3.
            let second = y.broadcast_sub(&mean)?.sqr()?.mean(0)?.to_vec1::<f64>()?;
            for (mean, second) in mean.to_vec1::<f64>()?.into_iter().zip(second) {
                let scale = (second - 0.01 - 0.01 / 3.0).sqrt();
                assert!(mean.abs() < 0.52 && (0.97..1.28).contains(&scale), "{mean} {scale}");
                seen.push([mean, scale]);
            }
        }
        let spread = |at: usize| {
            let values = || seen.iter().map(|pair| pair[at]);
            values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min)
        };
        assert!(spread(0) > 0.5 && spread(1) > 0.1);
        Ok(())
    }

    #[test]
    fn the_gradient_is_that_of_the_norm_times_the_scale() -> Result<()> {
        let noise = Noise { scale_spread: 0.0, mean_range: 5.0, ..Noise::default() };
        let (noisy, x) = (layer(noise, Activation::Identity)?, Var::from_tensor(&x()?)?);
        let upstream = Tensor::new(&[[0.5, 1.0], [-2.0, 1.5]], &CPU)?;
        let gradient = |y: Tensor| -> Result<Tensor> {
            let loss = (y * &upstream)?.sum_all()?;
            Ok(loss.backward()?.remove(noisy.norm().weight().expect("a weight")).expect("reached"))
        };
        let with = gradient(noisy.forward_t(&x, true, &mut stream(1, "noise"))?)?;
        let without = gradient(noisy.norm().forward_t(&x, true)?)?;
        let mut draws = stream(1, "noise");
        let [_, _, first, second] = [0; 4].map(|_| draws.unit());
        let scale = Tensor::new(&[1.0 + 0.25 * first, 1.0 + 0.25 * second], &CPU)?;
        assert_close(&with, &(without * scale)?, 1e-12);
        Ok(())
    }

    #[test]
    fn half_precision_and_errors() -> Result<()> {
        let norm = layer(Noise::default(), Activation::Relu)?;
        let mut noise = stream(2, "noise");
        let half = x()?.to_dtype(DType::BF16)?;
        assert_eq!(norm.forward_t(&half, true, &mut noise)?.dtype(), DType::BF16);
        let expect = |error: taper_core::Error, expected: &str| {
            let message = error.to_string();
            assert!(message.contains(expected), "{message} does not contain: {expected}");
        };
        let whole = norm.forward_t(&x()?.to_dtype(DType::I64)?, true, &mut noise).unwrap_err();
        expect(whole, "BatchNorm::forward_t: x should be f64, f32, bf16 or f16, got I64");
        let residual = norm.forward_residual_t(&half, &x()?, true, &mut noise).unwrap_err();
        let fit = "residual should be as x, BF16 of shape [2, 2], got F64 of shape [2, 2]";
        expect(residual, &format!("NoisyBatchNorm::forward_residual_t: {fit}"));
        let default = Noise::default();
        let cases = [
            (Noise { mean_range: -0.1, ..default }, "mean_range", 0, "-0.1"),
            (Noise { scale_range: 0.9, ..default }, "scale_range", 1, "0.9"),
            (Noise { mean_spread: f64::NAN, ..default }, "mean_spread", 0, "NaN"),
            (Noise { scale_spread: f64::INFINITY, ..default }, "scale_spread", 0, "inf"),
        ];
        for (noise, argument, least, received) in cases {
            let expected =
                format!("{argument} should be finite and at least {least}, got {received}");
            let error = layer(noise, Activation::Identity).unwrap_err();
            expect(error, &format!("NoisyBatchNorm: {expected}"));
        }
        Ok(())
    }
}
