//! Adam: steps scaled by running moments of the gradient.

use candle_core::Var;

use super::Optimizer;
use super::group::{Groups, ParamGroup};
use super::moments::{Decay, Moments};
use crate::{GradientStore, Result, Snapshot, Stateful};

/// The settings of [`Adam`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// The step size.
    pub learning_rate: f64,
    /// The decay rates of the first and the second moment.
    pub betas: (f64, f64),
    /// What keeps the division away from 0.
    pub eps: f64,
    /// The factor of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { learning_rate: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam, with weight decay as a part of the gradient (L2 regularization).
///
/// # Equation
/// With γ the learning rate, λ the weight decay, and t counting the parameter's steps from 1:
/// g ← ∇f(θ) + λ θ;
/// m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²;
/// θ ← θ − γ / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε).
///
/// # Shapes
/// A parameter of any shape; its gradient, m and v have the same.
///
/// # Parameters
/// Of [`AdamConfig`]; learning rate and weight decay also of each [`ParamGroup`]:
/// - `learning_rate`: 1e-3, at least 0.
/// - `betas`: (0.9, 0.999), each in [0, 1).
/// - `eps`: 1e-8, at least 0.
/// - `weight_decay`: 0.0, at least 0.
///
/// # Numerics
/// In the parameter's dtype; the bias corrections in f64. ε stands outside the root. On the CPU in f32 and
/// f64 a step is one pass over memory, whose result does not depend on the number of threads.
///
/// # Deviations
/// 1. From the paper: ε is added after the bias correction of v, as in algorithm 1, not as in its
///    faster form.
/// 2. From PyTorch: no AMSGrad.
///
/// # Errors
/// Settings out of range, and a name or variable that is in two groups or twice in one.
///
/// # References
/// - Kingma and Ba 2014, Adam: a method for stochastic optimization, <https://arxiv.org/abs/1412.6980>.
/// - `torch.optim.Adam`, <https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::optim::{Adam, AdamConfig, Optimizer};
///
/// let x = Var::new(4.0, &Device::Cpu)?;
/// let config = AdamConfig { learning_rate: 0.1, ..Default::default() };
/// let mut optimizer = Adam::new(vec![("x".to_owned(), x.clone())], config)?;
/// optimizer.step(&x.sqr()?.backward()?)?;
/// // The first step has the length of the learning rate.
/// assert!((x.to_scalar::<f64>()? - 3.9).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Adam(Moments);

impl Adam {
    /// An optimizer of `parameters`, all in one group.
    pub fn new(parameters: Vec<(String, Var)>, config: AdamConfig) -> Result<Self> {
        Self::with_groups(vec![ParamGroup::new(parameters)], config)
    }

    /// An optimizer of these groups, which are counted from 0.
    pub fn with_groups(groups: Vec<ParamGroup>, config: AdamConfig) -> Result<Self> {
        let groups = Groups::new("Adam", groups, config.learning_rate, config.weight_decay)?;
        Ok(Self(Moments::new("Adam", groups, Decay::Coupled, config.betas, config.eps)?))
    }
}

impl Optimizer for Adam {
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

impl Stateful for Adam {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        self.0.save(snapshot)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.0.restore(snapshot)
    }
}
