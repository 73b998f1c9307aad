//! Stochastic gradient descent.

use candle_core::{Tensor, Var};
use taper_kernels::optim::{self, Momentum};

use super::Optimizer;
use super::group::{Group, Groups, ParamGroup, at_least_zero, state_entry};
use super::memory::Memory;
use super::step::{Item, Rule, step};
use crate::op::Scalar;
use crate::{Error, GradientStore, Result, Snapshot, Stateful};

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
/// In the parameter's dtype. Without momentum nothing is remembered. On the CPU in f32 and f64 a step is one
/// pass over memory, whose result does not depend on the number of threads.
///
/// # Deviations
/// 1. From Sutskever et al.: the learning rate multiplies b when it is applied, as in PyTorch, not
///    when the gradient enters b.
///
/// # Errors
/// Settings out of range, and a name or variable that is in two groups or twice in one.
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
    /// In the order of the groups' parameters; `None` before the first gradient.
    momentum_buffers: Vec<Option<Memory>>,
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
        let momentum_buffers = groups.parameters().map(|_| None).collect();
        Ok(Self { config, groups, momentum_buffers })
    }

    /// One step with each gradient times `factor`.
    fn step_by(&mut self, gradients: &dyn GradientStore, factor: f64) -> Result<()> {
        let config = self.config;
        let moved = self.groups.with_gradients(gradients, &mut self.momentum_buffers)?;
        let mut items = Vec::with_capacity(moved.len());
        for moved in moved {
            let first = moved.remembered.is_none();
            if first && config.momentum != 0.0 {
                *moved.remembered = Some(Memory::zeros(moved.var)?);
            }
            let (kernel, momentum) = kernel(config, moved.group, first, factor);
            let momentum = moved.remembered.as_mut().zip(momentum);
            let rule = SgdRule { kernel, momentum };
            items.push(Item { var: moved.var, gradient: moved.gradient, rule });
        }
        step(items)
    }
}

/// The numbers of the step of a parameter of `group`.
fn kernel(
    config: SgdConfig,
    group: &Group,
    first: bool,
    factor: f64,
) -> (optim::Sgd, Option<Momentum>) {
    let kernel = optim::Sgd { factor, decay: group.weight_decay, rate: group.learning_rate };
    let momentum = Momentum {
        keep: config.momentum,
        gain: if first { 1.0 } else { 1.0 - config.dampening },
        nesterov: config.nesterov,
    };
    (kernel, (config.momentum != 0.0).then_some(momentum))
}

struct SgdRule<'a> {
    kernel: optim::Sgd,
    momentum: Option<(&'a mut Memory, Momentum)>,
}

impl Rule for SgdRule<'_> {
    fn fused<T: Scalar>(&mut self, parameter: &mut [T], gradient: &[T]) -> candle_core::Result<()> {
        let momentum = match &mut self.momentum {
            Some((buffer, momentum)) => Some((buffer.slice_mut()?, *momentum)),
            None => None,
        };
        self.kernel.step(parameter, gradient, momentum);
        Ok(())
    }

    fn composed(&mut self, var: &Var, gradient: Tensor) -> candle_core::Result<Tensor> {
        let optim::Sgd { factor, decay, rate } = self.kernel;
        let (parameter, mut gradient) = (var.as_detached_tensor(), gradient);
        if factor != 1.0 {
            gradient = (gradient * factor)?;
        }
        if decay != 0.0 {
            gradient = (gradient + (&parameter * decay)?)?;
        }
        if let Some((memory, momentum)) = &mut self.momentum {
            let kept = (memory.to_tensor(var)? * momentum.keep)?;
            let buffer = (kept + (&gradient * momentum.gain)?)?;
            **memory = Memory::of(&buffer)?;
            gradient =
                if momentum.nesterov { (gradient + (buffer * momentum.keep)?)? } else { buffer };
        }
        parameter - (gradient * rate)?
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, gradients: &dyn GradientStore) -> Result<()> {
        self.step_by(gradients, 1.0)
    }

    fn step_clipped(&mut self, gradients: &dyn GradientStore, max_norm: f64) -> Result<f64> {
        let (norm, factor) = self.groups.clipping(gradients, max_norm)?;
        self.step_by(gradients, factor)?;
        Ok(norm)
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
        for ((_, name, var), buffer) in self.groups.parameters().zip(&self.momentum_buffers) {
            if let Some(buffer) = buffer {
                snapshot.put_tensor(&state_entry(name, MOMENTUM_BUFFER), &buffer.to_tensor(var)?);
            }
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let learning_rates = self.groups.saved_learning_rates(snapshot)?;
        let mut state = self.groups.saved_state(snapshot, &[MOMENTUM_BUFFER])?;
        let buffers = self.groups.parameters().map(|(_, name, _)| {
            let buffer = state.remove(name).and_then(|mut kinds| kinds.remove(MOMENTUM_BUFFER));
            buffer.map(|buffer| Ok(Memory::of(&buffer)?)).transpose()
        });
        self.momentum_buffers = buffers.collect::<Result<_>>()?;
        self.groups.set_learning_rates(learning_rates);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::assert_close;

    #[test]
    fn fused_and_composed_agree() -> Result<()> {
        let numbers = |by: f64| -> Result<Tensor> {
            Ok(Tensor::arange(0.0, 50.0, &Device::Cpu)?.affine(by, 0.3)?.sin()?)
        };
        let settings = [(0.0, 0.0, false), (0.9, 0.3, false), (0.9, 0.0, true)];
        for ((momentum, dampening, nesterov), weight_decay) in
            settings.into_iter().flat_map(|it| [(it, 0.0), (it, 0.2)])
        {
            let config = SgdConfig { momentum, dampening, nesterov, ..Default::default() };
            let group = Group { parameters: vec![], learning_rate: 0.1, weight_decay };
            let var = Var::from_tensor(&numbers(1.0)?)?;
            let mut elements = var.to_vec1::<f64>()?;
            let (mut one, mut other) = (Memory::zeros(&var)?, Memory::zeros(&var)?);
            for step in 0..3 {
                let (kernel, momentum) = kernel(config, &group, step == 0, 0.5);
                let gradient = numbers(f64::from(step) + 1.5)?;
                let mut rule = SgdRule { kernel, momentum: momentum.map(|it| (&mut one, it)) };
                rule.fused(&mut elements, &gradient.to_vec1::<f64>()?)?;
                let mut rule = SgdRule { kernel, momentum: momentum.map(|it| (&mut other, it)) };
                var.set(&rule.composed(&var, gradient)?)?;
                assert_close(&Tensor::new(&*elements, &Device::Cpu)?, &var, 1e-14);
                assert_close(&one.to_tensor(&var)?, &other.to_tensor(&var)?, 1e-14);
            }
        }
        Ok(())
    }
}
