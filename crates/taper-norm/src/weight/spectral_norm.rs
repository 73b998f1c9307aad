//! Spectral normalization.

mod fused;
mod kernel;
mod power;

use candle_core::{DType, Shape, Tensor, Var};
use candle_nn::{Init, VarBuilder};
use taper_core::{Error, Initializer, LinearConfig, Result, op};

use self::power::Vectors;
use super::parameters::known;
use crate::arguments::{expect_eps, expect_values, is_half};

const NAME: &str = "SpectralNorm";

/// How many power iterations bring new vectors near to the singular ones.
const FIRST_ITERATIONS: usize = 15;

/// How [`spectral_norm`] makes a weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpectralNormConfig {
    /// How often u and v move towards the singular vectors in each step of training; at least 1.
    pub n_power_iterations: usize,
    /// The least length that u and v are divided by.
    pub eps: f64,
    /// The axis of the weight that is the rows of the matrix.
    pub dim: usize,
    /// How the weight begins.
    pub weight_init: Initializer,
}

impl Default for SpectralNormConfig {
    fn default() -> Self {
        Self {
            n_power_iterations: 1,
            eps: 1e-12,
            dim: 0,
            weight_init: LinearConfig::default().weight_init,
        }
    }
}

/// A normalized weight of this shape, of `vb`'s parameter `parametrizations.weight.original` and its state
/// `parametrizations.weight.0._u` and `parametrizations.weight.0._v`, or of `weight_orig`, `weight_u` and `weight_v`
/// where `vb` has those; see [`SpectralNorm`].
pub fn spectral_norm(
    shape: impl Into<Shape>,
    config: SpectralNormConfig,
    vb: VarBuilder,
) -> Result<SpectralNorm> {
    let shape = shape.into();
    let sizes = sizes(&shape, config)?;
    let name = known(&vb, ["parametrizations.weight.original", "weight_orig"]);
    let weight = config.weight_init.parameter(&shape, name, &vb)?;
    let Some((rows, columns)) = sizes else {
        return SpectralNorm::new(weight, None, config);
    };
    let state = |names, length| -> Result<(Var, bool)> {
        let name = known(&vb, names);
        let is_new = !vb.contains_tensor(name);
        let state = vb.get_with_hints(length, name, Init::Randn { mean: 0.0, stdev: 1.0 })?;
        // A variable of the builder is taken as it is: what saves the model saves it too.
        Ok((Var::from_tensor(&state)?, is_new))
    };
    let (u, u_is_new) = state(["parametrizations.weight.0._u", "weight_u"], rows)?;
    let (v, v_is_new) = state(["parametrizations.weight.0._v", "weight_v"], columns)?;
    let norm = SpectralNorm::new(weight, Some((u, v)), config)?;
    if u_is_new || v_is_new {
        norm.begin()?;
    }
    Ok(norm)
}

/// Spectral normalization: a weight divided by its largest singular value, so that the layer stretches no input.
///
/// # Equation
/// w = W / σ, σ = uᵀ M v
///
/// with the matrix M of W's axis `dim` by all its other axes. u and v come near to its first singular vectors, and
/// σ to its largest singular value, by the power iterations u ← M v / ‖M v‖, v ← Mᵀ u / ‖Mᵀ u‖: in training
/// `n_power_iterations` of them before each weight, in evaluation none. A W of one axis is divided by its length.
///
/// # Shapes
/// W (`parametrizations.weight.original`) and w of any shape, such as (out_features, in_features) or
/// (out_channels, in_channels / groups, height, width); u (`parametrizations.weight.0._u`) of as many elements as W
/// has along `dim`, v (`parametrizations.weight.0._v`) of as many as one of these has. A W of one axis has no u and v.
///
/// # Parameters
/// - `shape`: that of the weight; at least one axis, none empty.
///
/// Of [`SpectralNormConfig`]:
/// - `n_power_iterations`: 1; at least 1.
/// - `eps`: 1e-12; above 0. The lengths that u, v and a W of one axis are divided by are at least this.
/// - `dim`: 0, the axis of the outputs; for a transposed convolution the outputs are the axis 1.
/// - `weight_init`: U(−b, b) with b = 1 / √fan_in, PyTorch's default of linear layers and convolutions. For a weight of one
///   axis, which has no fan_in, another.
///
/// # Numerics
/// Call [`weight`](SpectralNorm::weight) once a step, after the optimizer moved W. u and v are state, not parameters:
/// no gradient goes to them, `Parameters::trainable` leaves them out, and new ones are normal numbers after 15 power
/// iterations. The gradient of W goes through σ: ∂W = (∂w − ⟨∂w, w⟩ u vᵀ) / σ, for which u, v and σ are those of the
/// call, whatever later steps make of them. Lengths and σ are taken in f64. On the CPU the division is one operation
/// in each direction, and no result depends on the number of threads; elsewhere candle's operations compute. f16 and bf16 are computed in f32; w has the dtype of W.
/// One iteration a step follows a slowly moving W; until u and v have, σ is too small and w too large.
///
/// # Deviations
/// 1. From PyTorch: where σ is 0, as for a W of zeros, w is W instead of NaN.
/// 2. From PyTorch: an iteration whose M v or Mᵀ u is 0 or not finite leaves u and v, which would be 0 or NaN in all
///    later steps.
/// 3. From PyTorch: no negative `dim`, and 0 for transposed convolutions too unless another is said.
/// 4. From PyTorch: training is said in the call.
/// 5. From `torch.nn.utils.spectral_norm`, the older form with the names `weight_orig`, `weight_u` and `weight_v`: there
///    each iteration moves v first, and new vectors have no 15 iterations. Evaluation is the same.
/// 6. From the paper: 15 iterations at first, as in PyTorch.
///
/// # Errors
/// [`spectral_norm`] and [`SpectralNorm::new`] refuse a shape without elements, a `dim` that it does not have, no power
/// iterations, an `eps` that is not above 0 and finite, and tensors that do not fit.
///
/// # References
/// - Miyato, Kataoka, Koyama and Yoshida 2018, Spectral normalization for generative adversarial networks,
///   <https://arxiv.org/abs/1802.05957>.
/// - `torch.nn.utils.parametrizations.spectral_norm`,
///   <https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.parametrizations.spectral_norm.html>.
///
/// # Example
/// A convolution of a discriminator: the norm and the bias are what is kept, the layer is made of them in each step.
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor, Var};
/// use taper_core::{Conv2d, Conv2dConfig, Parameters, stream};
/// use taper_norm::{SpectralNorm, SpectralNormConfig, spectral_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F32, &Device::Cpu).pp("conv");
/// let norm = spectral_norm((8, 3, 3, 3), SpectralNormConfig::default(), vb.clone())?;
/// let bias = vb.get(8, "bias")?;
/// let x = Tensor::zeros((2, 3, 16, 16), DType::F32, &Device::Cpu)?;
/// let conv = Conv2d::new(norm.weight(true)?, Some(bias), Conv2dConfig::default())?;
/// assert_eq!(conv.forward(&x)?.dims(), [2, 8, 14, 14]);
/// assert_eq!(parameters.trainable().len(), 2);
///
/// // The singular values 4 and 2. The vectors come to (1, 0) and (1, 0), and what was too large comes to 1.
/// let weight = Tensor::new(&[[4.0, 0.0], [0.0, 2.0]], &Device::Cpu)?;
/// let start = || Var::new(&[0.6, 0.8], &Device::Cpu);
/// let norm = SpectralNorm::new(weight, Some((start()?, start()?)), SpectralNormConfig::default())?;
/// assert!(norm.weight(true)?.to_vec2::<f64>()?[0][0] > 1.05);
/// for _ in 0..20 {
///     norm.weight(true)?;
/// }
/// let weight = norm.weight(false)?.to_vec2::<f64>()?;
/// assert!((weight[0][0] - 1.0).abs() < 1e-9 && (weight[1][1] - 0.5).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct SpectralNorm {
    weight: Tensor,
    vectors: Option<(Var, Var)>,
    config: SpectralNormConfig,
}

impl SpectralNorm {
    /// A weight made of W (`weight`) and of the `vectors` u and v, which a W of one axis does not have. They are taken
    /// as they are; of the config `weight_init` has no effect.
    pub fn new(
        weight: Tensor,
        vectors: Option<(Var, Var)>,
        config: SpectralNormConfig,
    ) -> Result<Self> {
        let sizes = sizes(weight.shape(), config)?;
        expect_values(NAME, "weight", &weight, weight.dims())?;
        match (sizes, &vectors) {
            (Some((rows, columns)), Some((u, v))) => {
                expect_values(NAME, "u", u, &[rows])?;
                expect_values(NAME, "v", v, &[columns])?;
            }
            (None, None) => {}
            (Some(_), None) => {
                let expected = "given, for a weight of more than one axis";
                return Err(Error::argument(NAME, "vectors", expected, "none"));
            }
            (None, Some(_)) => {
                let expected = "none, for a weight of one axis";
                return Err(Error::argument(NAME, "vectors", expected, "given"));
            }
        }
        Ok(Self { weight, vectors, config })
    }

    /// w, for the layer of this step. In training u and v move first.
    pub fn weight(&self, train: bool) -> Result<Tensor> {
        let (raw, dtype) = (op::widen(&self.weight)?, self.weight.dtype());
        let weight = match &self.vectors {
            None => by_length(&raw, self.config.eps)?,
            Some((u, v)) => {
                let matrix = matrix(&raw.detach(), self.config.dim)?;
                let mut vectors = Vectors::of(u, v)?;
                let sigma = if train {
                    let SpectralNormConfig { n_power_iterations, eps, .. } = self.config;
                    let sigma = vectors.iterate(&matrix, n_power_iterations, eps)?;
                    vectors.store(u, v)?;
                    sigma
                } else {
                    vectors.sigma(&matrix)?
                };
                match sigma {
                    // Nothing to divide by.
                    0.0 => raw,
                    _ if op::has_kernels(&raw) => {
                        fused::apply(&raw, vectors, sigma, self.config.dim)?
                    }
                    _ => composed(&raw, &vectors, self.config.dim)?,
                }
            }
        };
        Ok(if is_half(dtype) { weight.to_dtype(dtype)? } else { weight })
    }

    /// W.
    pub fn raw_weight(&self) -> &Tensor {
        &self.weight
    }

    /// u and v; none for a W of one axis.
    pub fn vectors(&self) -> Option<(&Var, &Var)> {
        self.vectors.as_ref().map(|(u, v)| (u, v))
    }

    /// How the weight was made.
    pub fn config(&self) -> SpectralNormConfig {
        self.config
    }

    /// Makes first singular vectors, nearly, of random ones.
    fn begin(&self) -> Result<()> {
        let Some((u, v)) = &self.vectors else {
            return Ok(());
        };
        let matrix = matrix(&op::widen(&self.weight)?.detach(), self.config.dim)?;
        let mut vectors = Vectors::of(u, v)?;
        vectors.normalize(self.config.eps);
        vectors.iterate(&matrix, FIRST_ITERATIONS, self.config.eps)?;
        vectors.store(u, v)
    }
}

/// The rows and columns of the weight as a matrix; none where it has one axis.
fn sizes(shape: &Shape, config: SpectralNormConfig) -> Result<Option<(usize, usize)>> {
    let dims = shape.dims();
    if dims.is_empty() || shape.elem_count() == 0 {
        let expected = "at least one axis, none of them empty";
        return Err(Error::argument(NAME, "shape", expected, format!("{dims:?}")));
    }
    let Some(rows) = dims.get(config.dim) else {
        let expected = format!("an axis of the weight, below {}", dims.len());
        return Err(Error::argument(NAME, "dim", expected, config.dim));
    };
    if config.n_power_iterations == 0 {
        return Err(Error::argument(NAME, "n_power_iterations", "at least 1", 0));
    }
    expect_eps(NAME, config.eps)?;
    Ok((dims.len() > 1).then_some((*rows, shape.elem_count() / rows)))
}

/// `weight` with the axis `dim` as rows and the others, in their order, as columns.
fn matrix(weight: &Tensor, dim: usize) -> Result<Tensor> {
    let mut axes: Vec<usize> = (0..weight.rank()).collect();
    axes.remove(dim);
    axes.insert(0, dim);
    Ok(weight.permute(axes)?.flatten_from(1)?.contiguous()?)
}

/// A weight of one axis over its length, which is at least `eps`, in f64 where the device has that.
fn by_length(raw: &Tensor, eps: f64) -> Result<Tensor> {
    let wide = if raw.device().is_cpu() { raw.to_dtype(DType::F64)? } else { raw.clone() };
    let squares = wide.sqr()?.sum_keepdim(0)?;
    // A choice before the root, whose gradient at 0 is infinite.
    let is_short = squares.le(eps * eps)?;
    let lengths = is_short.where_cond(&squares.ones_like()?, &squares)?.sqrt()?;
    let lengths = is_short.where_cond(&(squares.ones_like()? * eps)?, &lengths)?;
    Ok(wide.broadcast_div(&lengths)?.to_dtype(raw.dtype())?)
}

/// The twin of the fused operation in candle's operations.
fn composed(raw: &Tensor, vectors: &Vectors, dim: usize) -> Result<Tensor> {
    let (mut of_u, mut of_v) = (vec![1; raw.rank()], raw.dims().to_vec());
    (of_u[dim], of_v[dim]) = (raw.dim(dim)?, 1);
    let like = |values: &[f64], shape: Vec<usize>| {
        Tensor::new(values, &candle_core::Device::Cpu)?
            .to_dtype(raw.dtype())?
            .to_device(raw.device())?
            .reshape(shape)
    };
    let outer = like(&vectors.u, of_u)?.broadcast_mul(&like(&vectors.v, of_v)?)?;
    Ok(raw.broadcast_div(&(raw * outer)?.sum_all()?)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        let raw = Var::new(&[[3.0, 0.0], [4.0, 0.0]], &Device::Cpu)?;
        let start = Var::new(&[1.0, 0.0], &Device::Cpu)?;
        let vectors = (start.clone(), Var::new(&[1.0, 0.0], &Device::Cpu)?);
        let norm = SpectralNorm::new(raw.as_tensor().clone(), Some(vectors), Default::default())?;
        // u is (1, 0) yet: σ = 3.
        let weight = norm.weight(false)?;
        let expected = Tensor::new(&[[1.0, 0.0], [4.0 / 3.0, 0.0]], &Device::Cpu)?;
        assert_close(&weight, &expected, 1e-15);
        // M (1, 0) = (3, 4), of the length 5: the singular value.
        let weight = norm.weight(true)?;
        assert_close(&start, &Tensor::new(&[0.6, 0.8], &Device::Cpu)?, 1e-15);
        assert_close(&weight, &Tensor::new(&[[0.6, 0.0], [0.8, 0.0]], &Device::Cpu)?, 1e-15);
        let upstream = Tensor::new(&[[1.0, 2.0], [0.0, 0.0]], &Device::Cpu)?;
        let gradients = (weight * upstream)?.sum_all()?.backward()?;
        let gradient = gradients.get(&raw).expect("a gradient");
        // ((1, 2), (0, 0)) less 0.6 of ((0.6, 0), (0.8, 0)), over 5.
        let expected = Tensor::new(&[[0.128, 0.4], [-0.096, 0.0]], &Device::Cpu)?;
        assert_close(gradient, &expected, 1e-14);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            for (shape, dim) in [
                (vec![4, 7], 0),
                (vec![4, 7], 1),
                (vec![3, 2, 3, 3], 0),
                (vec![3, 2, 3, 3], 1),
                (vec![3, 2, 3, 4], 3),
                (vec![70, 20, 5, 6], 1),
            ] {
                let mut normal =
                    |length: usize| noise.normal(1.0, 1.0, length, dtype, &Device::Cpu);
                let (elements, rows) = (shape.iter().product::<usize>(), shape[dim]);
                let (u, v) = (normal(rows)?, normal(elements / rows)?);
                let (u, v) = (Var::from_tensor(&u)?, Var::from_tensor(&v)?);
                let raw = Var::from_tensor(&normal(elements)?.reshape(shape)?)?;
                let vectors = Vectors::of(&u, &v)?;
                let sigma = vectors.sigma(&matrix(&raw.as_detached_tensor(), dim)?)?;
                let run = |weight: Tensor| -> Result<[Tensor; 2]> {
                    let mut gradients = weight.sin()?.sum_all()?.backward()?;
                    Ok([weight, gradients.remove(&raw).expect("a gradient")])
                };
                let expected = run(composed(&raw, &vectors, dim)?)?;
                let found = run(fused::apply(&raw, vectors, sigma, dim)?)?;
                for (found, expected) in found.iter().zip(&expected) {
                    assert_close(found, expected, tolerance);
                }
            }
        }
        Ok(())
    }
}
