//! Stochastic gradient descent.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};

use super::Optimizer;
use super::group::{Groups, ParamGroup, at_least_zero, state_entry};
use crate::{Error, Result, Snapshot, Stateful};

const MOMENTUM_BUFFER: &str = "momentum_buffer";

/// The settings of [`Sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// The step size.
    pub learning_rate: f64,
    /// The share of the last direction that is kept.
    pub momentum: f64,
    /// The share of the gradient that is left out of the direction.
    pub dampening: f64,
    /// Whether the gradient is taken as if the momentum had been followed already.
    pub nesterov: bool,
    /// The factor of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        }
    }
}

/// Stochastic gradient descent with momentum.
///
/// # Equation
/// With γ the learning rate, λ the weight decay, μ the momentum and τ the dampening:
/// g ← ∇f(θ) + λ θ;
/// b ← g at a parameter's first step, then μ b + (1 − τ) g;
/// θ ← θ − γ b, with Nesterov θ − γ (g + μ b), without momentum θ − γ g.
///
/// # Shapes
/// A parameter of any shape; its gradient and b have the same.
///
/// # Parameters
/// Of [`SgdConfig`]; learning rate and weight decay also of each [`ParamGroup`]:
/// - `learning_rate`: 1e-3, at least 0.
/// - `momentum`: 0, at least 0.
/// - `dampening`: 0, finite.
/// - `nesterov`: false; needs a momentum and no dampening.
/// - `weight_decay`: 0, at least 0.
///
/// # Numerics
/// In the parameter's dtype. Without momentum nothing is remembered.
///
/// # Deviations
/// 1. From Sutskever et al.: the learning rate multiplies b when it is applied, as in PyTorch, not
///    when the gradient enters b.
///
/// # Errors
/// Settings out of range, and a name that is in two groups or twice in one.
///
/// # References
/// - Sutskever, Martens, Dahl and Hinton 2013, On the importance of initialization and momentum in
///   deep learning.
/// - `torch.optim.SGD`, <https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Var};
/// use taper_core::optim::{Optimizer, Sgd, SgdConfig};
///
/// let x = Var::new(4.0, &Device::Cpu)?;
/// let config = SgdConfig { learning_rate: 0.1, momentum: 0.5, ..Default::default() };
/// let mut sgd = Sgd::new(vec![("x".to_owned(), x.clone())], config)?;
/// for _ in 0..2 {
///     sgd.step(&x.sqr()?.backward()?)?;
/// }
/// // b = 8, x = 4 - 0.8 = 3.2; then b = 4 + 6.4 = 10.4, x = 3.2 - 1.04.
/// assert!((x.to_scalar::<f64>()? - 2.16).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    groups: Groups,
    momentum_buffers: BTreeMap<String, Tensor>,
}

impl Sgd {
    /// An optimizer of `parameters`, all in one group.
    pub fn new(parameters: Vec<(String, Var)>, config: SgdConfig) -> Result<Self> {
        Self::with_groups(vec![ParamGroup::new(parameters)], config)
    }

    /// An optimizer of these groups, which are counted from 0.
    pub fn with_groups(groups: Vec<ParamGroup>, config: SgdConfig) -> Result<Self> {
        at_least_zero("Sgd", "momentum", config.momentum)?;
        if !config.dampening.is_finite() {
            return Err(Error::argument("Sgd", "dampening", "finite", config.dampening));
        }
        if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
            let received = format!("{} and {}", config.momentum, config.dampening);
            let expected = "above 0 and 0 with nesterov";
            return Err(Error::argument("Sgd", "momentum and dampening", expected, received));
        }
        let groups = Groups::new("Sgd", groups, config.learning_rate, config.weight_decay)?;
        Ok(Self { config, groups, momentum_buffers: BTreeMap::new() })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        let SgdConfig { momentum, dampening, nesterov, .. } = self.config;
        for group in self.groups.iter() {
            for (name, var) in &group.parameters {
                // Detached: candle's gradients hold on to the graph that they came from.
                let Some(mut gradient) = gradients.get(var).map(Tensor::detach) else {
                    continue;
                };
                let parameter = var.as_detached_tensor();
                if group.weight_decay != 0.0 {
                    gradient = (gradient + (&parameter * group.weight_decay)?)?;
                }
                if momentum != 0.0 {
                    let buffer = match self.momentum_buffers.get(name) {
                        Some(buffer) => ((buffer * momentum)? + (&gradient * (1.0 - dampening))?)?,
                        None => gradient.clone(),
                    };
                    gradient =
                        if nesterov { (gradient + (&buffer * momentum)?)? } else { buffer.clone() };
                    self.momentum_buffers.insert(name.clone(), buffer);
                }
                var.set(&(parameter - (gradient * group.learning_rate)?)?)?;
            }
        }
        Ok(())
    }

    fn learning_rate(&self, group: usize) -> Result<f64> {
        self.groups.learning_rate(group)
    }

    fn set_learning_rate(&mut self, group: usize, learning_rate: f64) -> Result<()> {
        self.groups.set_learning_rate(group, learning_rate)
    }
}

impl Stateful for Sgd {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        self.groups.save(snapshot);
        for (name, buffer) in &self.momentum_buffers {
            snapshot.put_tensor(&state_entry(name, MOMENTUM_BUFFER), buffer);
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let learning_rates = self.groups.saved_learning_rates(snapshot)?;
        let state = self.groups.saved_state(snapshot, &[MOMENTUM_BUFFER])?;
        self.momentum_buffers = state
            .into_iter()
            .flat_map(|(name, kinds)| kinds.into_values().map(move |buffer| (name.clone(), buffer)))
            .collect();
        self.groups.set_learning_rates(learning_rates);
        Ok(())
    }
}
