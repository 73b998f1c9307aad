//! AdamW: Adam with a weight decay of its own.

use candle_core::Var;

use super::Optimizer;
use super::group::{Groups, ParamGroup};
use super::moments::{Decay, Moments};
use crate::{GradientStore, Result, Snapshot, Stateful};

/// The settings of [`AdamW`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// The step size.
    pub learning_rate: f64,
    /// The decay rates of the first and the second moment.
    pub betas: (f64, f64),
    /// What keeps the division away from 0.
    pub eps: f64,
    /// The share of the parameter, times the learning rate, that each step takes off.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 1e-2 }
    }
}

/// Adam with decoupled weight decay.
///
/// # Equation
/// With γ the learning rate, λ the weight decay, and t counting the parameter's steps from 1:
/// θ ← θ − γ λ θ; g ← ∇f(θ), taken before that;
/// m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²;
/// θ ← θ − γ / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε).
///
/// # Shapes
/// A parameter of any shape; its gradient, m and v have the same.
///
/// # Parameters
/// Of [`AdamWConfig`]; learning rate and weight decay also of each [`ParamGroup`]:
/// - `learning_rate`: 1e-3, at least 0.
/// - `betas`: (0.9, 0.999), each in [0, 1).
/// - `eps`: 1e-8, at least 0.
/// - `weight_decay`: 1e-2, at least 0.
///
/// # Numerics
/// In the parameter's dtype; the bias corrections in f64. ε stands outside the root. On the CPU in f32 and
/// f64 a step is one pass over memory, whose result does not depend on the number of threads.
///
/// # Deviations
/// 1. From the paper: the decay is multiplied by the learning rate, as in PyTorch.
/// 2. From PyTorch: no AMSGrad.
///
/// # Errors
/// Settings out of range, and a name or variable that is in two groups or twice in one.
///
/// # References
/// - Loshchilov and Hutter 2017, Decoupled weight decay regularization, <https://arxiv.org/abs/1711.05101>.
/// - `torch.optim.AdamW`, <https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::optim::{AdamW, AdamWConfig, Optimizer};
///
/// let x = Var::new(4.0, &Device::Cpu)?;
/// let config = AdamWConfig { learning_rate: 0.1, weight_decay: 0.5, ..Default::default() };
/// let mut optimizer = AdamW::new(vec![("x".to_owned(), x.clone())], config)?;
/// optimizer.step(&x.sqr()?.backward()?)?;
/// // The decay takes off 0.1 * 0.5 * 4 = 0.2, the gradient 0.1.
/// assert!((x.to_scalar::<f64>()? - 3.7).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AdamW(Moments);

impl AdamW {
    /// An optimizer of `parameters`, all in one group.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamWConfig) -> Result<Self> {
        Self::with_groups(vec![ParamGroup::new(parameters)], config)
    }

    /// An optimizer of these groups, which are counted from 0.
    pub fn with_groups(groups: Vec<ParamGroup>, config: AdamWConfig) -> Result<Self> {
        let groups = Groups::new("AdamW", groups, config.learning_rate, config.weight_decay)?;
        Ok(Self(Moments::new("AdamW", groups, Decay::Decoupled, config.betas, config.eps)?))
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, gradients: &dyn GradientStore) -> Result<()> {
        self.0.step(gradients, 1.0)
    }

    fn step_clipped(&mut self, gradients: &dyn GradientStore, max_norm: f64) -> Result<f64> {
        let (norm, factor) = self.0.groups.clipping(gradients, max_norm)?;
        self.0.step(gradients, factor)?;
        Ok(norm)
    }

    fn learning_rate(&self, group: usize) -> Result<f64> {
        self.0.groups.learning_rate(group)
    }

    fn set_learning_rate(&mut self, group: usize, learning_rate: f64) -> Result<()> {
        self.0.groups.set_learning_rate(group, learning_rate)
    }
}

impl Stateful for AdamW {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        self.0.save(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.0.restore(snapshot)
    }
}
