//! What Adam and AdamW share: running moments of the gradients and the step they give.

use candle_core::{Tensor, Var};
use taper_kernels::optim::Adam;

use super::group::{Group, Groups, at_least_zero, state_entry};
use super::memory::Memory;
use super::step::{Item, Rule, step};
use crate::op::Scalar;
use crate::{Error, GradientStore, Result, Snapshot};

const STEP: &str = "step";
const EXP_AVG: &str = "exp_avg";
const EXP_AVG_SQ: &str = "exp_avg_sq";

/// Where the weight decay enters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Decay {
    /// It is added to the gradient and so divided by the root of the second moment (Adam).
    Coupled,
    /// It shrinks the parameter directly (AdamW).
    Decoupled,
}

#[derive(Debug)]
pub(super) struct Moments {
    pub(super) groups: Groups,
    decay: Decay,
    betas: (f64, f64),
    eps: f64,
    /// In the order of the groups' parameters; `None` before the first gradient.
    of: Vec<Option<Moment>>,
}

/// Of one parameter. Each counts its own steps: those in which it had a gradient.
#[derive(Debug)]
struct Moment {
    step: u64,
    exp_avg: Memory,
    exp_avg_sq: Memory,
}

impl Moments {
    pub(super) fn new(
        operation: &'static str,
        groups: Groups,
        decay: Decay,
        betas: (f64, f64),
        eps: f64,
    ) -> Result<Self> {
        for beta in [betas.0, betas.1] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::argument(operation, "betas", "each in [0, 1)", beta));
            }
        }
        at_least_zero(operation, "eps", eps)?;
        let of = groups.parameters().map(|_| None).collect();
        Ok(Self { groups, decay, betas, eps, of })
    }

    /// One step with each gradient times `factor`.
    pub(super) fn step(&mut self, gradients: &dyn GradientStore, factor: f64) -> Result<()> {
        let settings = (self.decay, self.betas, self.eps);
        let mut moved = self.groups.with_gradients(gradients, &mut self.of)?;
        for moved in &mut moved {
            if moved.remembered.is_none() {
                *moved.remembered = Some(Moment::new(moved.var)?);
            }
        }
        let items = moved.into_iter().filter_map(|moved| {
            let moment = moved.remembered.as_mut()?;
            moment.step += 1;
            let kernel = kernel(settings, moved.group, moment.step, factor);
            let rule = MomentRule { kernel, moment };
            Some(Item { var: moved.var, gradient: moved.gradient, rule })
        });
        step(items.collect())
    }

    pub(super) fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        self.groups.save(snapshot);
        for ((_, name, var), moment) in self.groups.parameters().zip(&self.of) {
            if let Some(moment) = moment {
                snapshot.put_u64(&state_entry(name, STEP), moment.step);
                let (exp_avg, exp_avg_sq) = (&moment.exp_avg, &moment.exp_avg_sq);
                snapshot.put_tensor(&state_entry(name, EXP_AVG), &exp_avg.to_tensor(var)?);
                snapshot.put_tensor(&state_entry(name, EXP_AVG_SQ), &exp_avg_sq.to_tensor(var)?);
            }
        }
        Ok(())
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let learning_rates = self.groups.saved_learning_rates(snapshot)?;
        let mut state = self.groups.saved_state(snapshot, &[EXP_AVG, EXP_AVG_SQ])?;
        let mut of = Vec::with_capacity(self.of.len());
        for (_, name, _) in self.groups.parameters() {
            let Some(mut kinds) = state.remove(name) else {
                of.push(None);
                continue;
            };
            let step = snapshot.get_u64(&state_entry(name, STEP))?;
            let mut take = |kind: &str| {
                let missing = || Error::state(state_entry(name, kind), "not in the saved state");
                Ok::<_, Error>(Memory::of(&kinds.remove(kind).ok_or_else(missing)?)?)
            };
            let (exp_avg, exp_avg_sq) = (take(EXP_AVG)?, take(EXP_AVG_SQ)?);
            of.push(Some(Moment { step, exp_avg, exp_avg_sq }));
        }
        self.of = of;
        self.groups.set_learning_rates(learning_rates);
        Ok(())
    }
}

impl Moment {
    fn new(var: &Var) -> Result<Self> {
        Ok(Self { step: 0, exp_avg: Memory::zeros(var)?, exp_avg_sq: Memory::zeros(var)? })
    }
}

/// The numbers of the step that a parameter of `group` takes as its `step`th.
fn kernel(
    (decay, betas, eps): (Decay, (f64, f64), f64),
    group: &Group,
    step: u64,
    factor: f64,
) -> Adam {
    let (coupled, shrink) = match decay {
        Decay::Coupled => (group.weight_decay, 1.0),
        Decay::Decoupled => (0.0, 1.0 - group.learning_rate * group.weight_decay),
    };
    let correction = |beta: f64| 1.0 - beta.powf(step as f64);
    Adam {
        factor,
        decay: coupled,
        shrink,
        betas,
        rate: group.learning_rate / correction(betas.0),
        root_factor: 1.0 / correction(betas.1).sqrt(),
        eps,
    }
}

struct MomentRule<'a> {
    kernel: Adam,
    moment: &'a mut Moment,
}

impl Rule for MomentRule<'_> {
    fn fused<T: Scalar>(&mut self, parameter: &mut [T], gradient: &[T]) -> candle_core::Result<()> {
        let Moment { exp_avg, exp_avg_sq, .. } = &mut *self.moment;
        self.kernel.step(parameter, gradient, exp_avg.slice_mut()?, exp_avg_sq.slice_mut()?);
        Ok(())
    }

    fn composed(&mut self, var: &Var, gradient: Tensor) -> candle_core::Result<Tensor> {
        let Adam { factor, decay, shrink, betas, rate, root_factor, eps } = self.kernel;
        let (mut parameter, mut gradient) = (var.as_detached_tensor(), gradient);
        if factor != 1.0 {
            gradient = (gradient * factor)?;
        }
        if decay != 0.0 {
            gradient = (gradient + (&parameter * decay)?)?;
        }
        if shrink != 1.0 {
            parameter = (parameter * shrink)?;
        }
        // As PyTorch rounds: the first an interpolation, the second a weighted sum.
        let exp_avg = self.moment.exp_avg.to_tensor(var)?;
        let exp_avg = (&exp_avg + ((&gradient - &exp_avg)? * (1.0 - betas.0))?)?;
        let exp_avg_sq = (self.moment.exp_avg_sq.to_tensor(var)? * betas.1)?;
        let exp_avg_sq = (exp_avg_sq + (gradient.sqr()? * (1.0 - betas.1))?)?;
        let denominator = exp_avg_sq.sqrt()?.affine(root_factor, eps)?;
        let step = ((&exp_avg / denominator)? * rate)?;
        self.moment.exp_avg = Memory::of(&exp_avg)?;
        self.moment.exp_avg_sq = Memory::of(&exp_avg_sq)?;
        parameter - step
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
        for decay in [Decay::Coupled, Decay::Decoupled] {
            for weight_decay in [0.0, 0.2] {
                let var = Var::from_tensor(&numbers(1.0)?)?;
                let group = Group { parameters: vec![], learning_rate: 0.1, weight_decay };
                let mut elements = var.to_vec1::<f64>()?;
                let (mut one, mut other) = (Moment::new(&var)?, Moment::new(&var)?);
                for step in 1..4 {
                    let kernel = kernel((decay, (0.9, 0.99), 1e-8), &group, step, 0.5);
                    let gradient = numbers(step as f64 + 1.5)?;
                    MomentRule { kernel, moment: &mut one }
                        .fused(&mut elements, &gradient.to_vec1::<f64>()?)?;
                    var.set(&MomentRule { kernel, moment: &mut other }.composed(&var, gradient)?)?;
                    assert_close(&Tensor::new(&*elements, &Device::Cpu)?, &var, 1e-14);
                    for (one, other) in
                        [(&one.exp_avg, &other.exp_avg), (&one.exp_avg_sq, &other.exp_avg_sq)]
                    {
                        assert_close(&one.to_tensor(&var)?, &other.to_tensor(&var)?, 1e-15);
                    }
                }
            }
        }
        Ok(())
    }
}
