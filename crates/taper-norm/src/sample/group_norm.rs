//! Group normalization for inputs of any number of axes.

use candle_core::{Module, Tensor};
use candle_nn::VarBuilder;
use taper_core::{Activation, Error, Result};
use taper_kernels::norm::GroupNorm as Kernel;

use super::terms::{Terms, centred, channel_shape, scaled};
use super::{fused, masked};
use crate::affine::{affine, expect_affine};
use crate::arguments::{expect_channels, expect_eps, expect_mask};

const NAME: &str = "GroupNorm";
const FORWARD: &str = "GroupNorm::forward";
const FORWARD_MASKED: &str = "GroupNorm::forward_masked";

/// How [`group_norm`] makes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormConfig {
    /// What is added to the variance before the square root.
    pub eps: f64,
    /// Whether there are a `weight` and a `bias`.
    pub affine: bool,
    /// What is applied to the output in the same pass.
    pub activation: Activation,
}

impl Default for GroupNormConfig {
    fn default() -> Self {
        Self { eps: 1e-5, affine: true, activation: Activation::Identity }
    }
}

/// A group normalization of `vb`'s parameters `weight` and `bias`, if `config` has them; see [`GroupNorm`].
pub fn group_norm(
    num_groups: usize,
    num_channels: usize,
    config: GroupNormConfig,
    vb: VarBuilder,
) -> Result<GroupNorm> {
    let affine = affine(config.affine, num_channels, &vb)?;
    GroupNorm::new(num_groups, num_channels, affine, config)
}

/// Group normalization: each group of a sample's channels is brought to mean 0 and variance 1 over its channels and
/// all places, then each channel to a learned scale and shift. The size of the batch does not matter.
///
/// # Equation
/// y = f(γ (x − μ) / √(σ² + ε) + β + r)
///
/// with an activation f, the identity by default, a residual r in `forward_residual`, 0 else, and the mean μ and the
/// biased variance σ² of x over the group's channels and places. One group is layer normalization with one scale a
/// channel, as many groups as channels are instance normalization.
///
/// # Shapes
/// x (N, C), (N, C, L), (N, C, H, W) or (N, C, D, H, W), r and y the same; γ (`weight`) and β (`bias`) (C); a mask
/// (N), (N, L), (N, H, W) or (N, D, H, W).
///
/// # Parameters
/// - `num_groups`: at least 1; divides the channels.
/// - `num_channels`: C, at least 1.
///
/// Of [`GroupNormConfig`]:
/// - `eps`: 1e-5; above 0.
/// - `affine`: true.
/// - `activation`: [`Activation::Identity`]. [`Activation::Relu`] costs no pass over memory of its own.
///
/// # Numerics
/// The variance is that of the distances from the mean, so that a mean of 1e4 and a standard deviation of 1e-2
/// come out right. On the CPU it is one operation in each direction, with the residual and a rectifier in it, whose
/// result does not depend on the number of threads; a variance that overflows f32 is taken in f64. Elsewhere, and
/// with a mask, candle's operations compute. f16 and bf16 are computed in f32; y has the dtype of x. The gradient
/// goes through mean and variance. A group of one value has y = f(β + r).
///
/// `forward_masked` is for padded inputs: statistics are over the places whose mask is not 0; at the others y is 0
/// and x has no gradient and may be NaN.
///
/// # Deviations
/// 1. From PyTorch: an input whose groups have one value each is accepted in a batch of one too; there is a mask.
///
/// # Errors
/// [`group_norm`] and [`GroupNorm::new`] refuse 0 channels, a number of groups that does not divide them, an `eps` out
/// of range and tensors that do not fit. `forward` refuses an x that is not floating-point or has another
/// number of axes or channels; `forward_residual` also a residual of another shape or dtype than x, and
/// `forward_masked` a mask that is not u8 or of another shape than the places of x.
///
/// # References
/// - Wu and He 2018, Group normalization, <https://arxiv.org/abs/1803.08494>.
/// - `torch.nn.GroupNorm`, <https://docs.pytorch.org/docs/stable/generated/torch.nn.GroupNorm.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device, Module, Tensor};
/// use taper_core::{Parameters, stream};
/// use taper_norm::{GroupNormConfig, group_norm};
///
/// let parameters = Parameters::new(&stream(0, "init"));
/// let vb = parameters.builder(DType::F64, &Device::Cpu);
/// let norm = group_norm(2, 4, GroupNormConfig { eps: 1e-12, ..Default::default() }, vb)?;
///
/// // Means 3 and 4, variances 4 and 9.
/// let x = Tensor::new(&[[1.0, 5.0, 7.0, 1.0]], &Device::Cpu)?;
/// let y = norm.forward(&x)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!(y.iter().zip([-1.0, 1.0, 1.0, -1.0]).all(|(y, expected)| (y - expected).abs() < 1e-9));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct GroupNorm {
    num_groups: usize,
    num_channels: usize,
    affine: Option<(Tensor, Tensor)>,
    config: GroupNormConfig,
}

impl GroupNorm {
    /// A layer of this weight and bias, (C). They say whether there are any; `config` says the rest.
    pub fn new(
        num_groups: usize,
        num_channels: usize,
        affine: Option<(Tensor, Tensor)>,
        config: GroupNormConfig,
    ) -> Result<Self> {
        if num_channels == 0 {
            return Err(Error::argument(NAME, "num_channels", "at least 1", 0));
        }
        if num_groups == 0 || !num_channels.is_multiple_of(num_groups) {
            let expected = format!("a divisor of the {num_channels} channels");
            return Err(Error::argument(NAME, "num_groups", expected, num_groups));
        }
        expect_eps(NAME, config.eps)?;
        expect_affine(NAME, &affine, num_channels)?;
        Ok(Self { num_groups, num_channels, affine, config })
    }

    /// C.
    pub fn num_channels(&self) -> usize {
        self.num_channels
    }

    /// γ, (C).
    pub fn weight(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(weight, _)| weight)
    }

    /// β, (C).
    pub fn bias(&self) -> Option<&Tensor> {
        self.affine.as_ref().map(|(_, bias)| bias)
    }

    /// [`forward`](Module::forward) with a residual of the shape of `x`: y = f(norm(x) + residual).
    pub fn forward_residual(&self, x: &Tensor, residual: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, Some(residual))
    }

    /// [`forward`](Module::forward) of the places whose `mask` (N, places...), u8, is not 0; y is 0 at the others. A
    /// sample with no place left is 0 throughout.
    pub fn forward_masked(&self, x: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD_MASKED, x, self.num_channels)?;
        expect_mask(FORWARD_MASKED, mask, x)?;
        let GroupNormConfig { eps, activation, .. } = self.config;
        Ok(masked::forward(self.terms(x, None), mask, self.num_groups, eps, activation)?.0)
    }

    fn normalize(&self, x: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
        expect_channels(FORWARD, x, self.num_channels)?;
        let terms = self.terms(x, residual);
        terms.check(FORWARD)?;
        terms.forward(
            self.config.activation,
            |terms, rectify| {
                let sizes = sizes(terms.x, self.num_groups, rectify);
                Ok(fused::apply(sizes, terms, self.config.eps)?.0)
            },
            |terms| composed(terms, self.num_groups, self.config.eps),
        )
    }

    fn terms<'a>(&'a self, x: &'a Tensor, residual: Option<&'a Tensor>) -> Terms<'a> {
        Terms { x, residual, weight: self.weight(), bias: self.bias() }
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.normalize(x, None)
    }
}

/// The sizes of the fused operation.
pub(super) fn sizes(x: &Tensor, groups: usize, rectify: bool) -> Kernel {
    let (samples, channels) = (x.dims()[0], x.dims()[1]);
    Kernel { samples, channels, places: x.dims()[2..].iter().product(), groups, rectify }
}

/// The twin of the fused operation in candle's operations.
pub(super) fn composed(terms: Terms<'_>, groups: usize, eps: f64) -> candle_core::Result<Tensor> {
    let x = terms.x;
    let length = x.dims()[1..].iter().product::<usize>() / groups;
    let rows = x.reshape((x.dims()[0] * groups, length))?;
    let normal = scaled(&centred(&rows)?, eps)?.reshape(x.shape())?;
    terms.affine(normal, &channel_shape(x))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use taper_core::stream;
    use taper_core::testing::assert_close;

    use super::*;

    #[test]
    fn hand_numbers() -> Result<()> {
        // Mean 4 and variance 9, with ε a standard deviation of 5.
        let x = Tensor::new(&[[[1.0], [7.0]]], &Device::Cpu)?;
        let weight = Tensor::new(&[5.0, 10.0], &Device::Cpu)?;
        let bias = Tensor::new(&[0.5, 1.0], &Device::Cpu)?;
        let config = GroupNormConfig { eps: 16.0, ..Default::default() };
        let norm = GroupNorm::new(1, 2, Some((weight, bias)), config)?;
        let y = norm.forward(&x)?;
        assert_close(&y, &Tensor::new(&[[[-2.5], [7.0]]], &Device::Cpu)?, 1e-15);
        Ok(())
    }

    #[test]
    fn hand_numbers_with_a_mask() -> Result<()> {
        let nan = f64::NAN;
        let x = Tensor::new(&[[[1.0, nan, 3.0], [5.0, nan, 7.0]], [[nan; 3]; 2]], &Device::Cpu)?;
        let mask = Tensor::new(&[[1u8, 0, 1], [0, 0, 0]], &Device::Cpu)?;
        let config = GroupNormConfig { eps: 4.0, ..Default::default() };
        let norm = GroupNorm::new(1, 2, None, config)?;
        // Mean 4, variance 5.
        let y = norm.forward_masked(&x, &mask)?;
        let expected = [[[-1.0, 0.0, -1.0 / 3.0], [1.0 / 3.0, 0.0, 1.0]], [[0.0; 3]; 2]];
        assert_close(&y, &Tensor::new(&expected, &Device::Cpu)?, 1e-15);
        Ok(())
    }

    #[test]
    fn the_fused_operation_is_its_composed_twin() -> Result<()> {
        let mut noise = stream(3, "test");
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            for shape in [vec![5, 6], vec![2, 6, 5], vec![3, 6, 4, 3]] {
                let mut variable = |shape: &[usize]| {
                    Var::from_tensor(&noise.normal(1.0, 2.0, shape, dtype, &Device::Cpu)?)
                };
                let (x, residual, upstream) =
                    (variable(&shape)?, variable(&shape)?, variable(&shape)?);
                let (weight, bias) = (variable(&[6])?, variable(&[6])?);
                for case in 0..8 {
                    let [affine, add, relu] = [1, 2, 4].map(|bit| case & bit != 0);
                    let activation = if relu { Activation::Relu } else { Activation::Tanh };
                    let config = GroupNormConfig { activation, ..Default::default() };
                    let parameters = (weight.as_tensor().clone(), bias.as_tensor().clone());
                    let norm = GroupNorm::new(2, 6, affine.then_some(parameters), config)?;
                    let run = |y: Tensor| -> Result<Vec<Tensor>> {
                        let loss = (&y * upstream.as_detached_tensor())?.sum_all()?;
                        let mut gradients = loss.backward()?;
                        let mut results = vec![y];
                        for variable in [&x, &residual, &weight, &bias] {
                            results.extend(gradients.remove(variable));
                        }
                        Ok(results)
                    };
                    let addend = add.then_some(residual.as_tensor());
                    let fused = run(norm.normalize(&x, addend)?)?;
                    let twin = norm.terms(&x, addend);
                    let twin = twin.composed(activation, |it| composed(it, 2, 1e-5))?;
                    let twin = run(twin)?;
                    let results = 2 + 2 * usize::from(affine) + usize::from(add);
                    assert_eq!((fused.len(), twin.len()), (results, results));
                    for (fused, twin) in fused.iter().zip(twin) {
                        assert_close(fused, &twin, tolerance);
                    }
                }
            }
        }
        Ok(())
    }
}
