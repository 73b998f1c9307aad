//! What Adam and AdamW share: running moments of the gradients and the step they give.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::group::{Groups, at_least_zero, state_entry};
use crate::{Error, Result, Snapshot};

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
    of: BTreeMap<String, Moment>,
}

/// Of one parameter. Each counts its own steps: those in which it had a gradient.
#[derive(Debug)]
struct Moment {
    step: u64,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
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
        Ok(Self { groups, decay, betas, eps, of: BTreeMap::new() })
    }

    pub(super) fn step(&mut self, gradients: &GradStore) -> Result<()> {
        for group in self.groups.iter() {
            for (name, var) in &group.parameters {
                // Detached: candle's gradients hold on to the graph that they came from.
                let Some(mut gradient) = gradients.get(var).map(Tensor::detach) else {
                    continue;
                };
                let mut parameter = var.as_detached_tensor();
                if group.weight_decay != 0.0 {
                    match self.decay {
                        Decay::Coupled => {
                            gradient = (gradient + (&parameter * group.weight_decay)?)?;
                        }
                        Decay::Decoupled => {
                            let shrink = group.learning_rate * group.weight_decay;
                            parameter = (parameter * (1.0 - shrink))?;
                        }
                    }
                }
                let moment = match self.of.get(name) {
                    Some(moment) => moment.next(&gradient, self.betas)?,
                    None => Moment::new(&gradient)?.next(&gradient, self.betas)?,
                };
                let step = moment.parameter_step(group.learning_rate, self.betas, self.eps)?;
                self.of.insert(name.clone(), moment);
                var.set(&(parameter - step)?)?;
            }
        }
        Ok(())
    }

    pub(super) fn save(&self, snapshot: &mut Snapshot) {
        self.groups.save(snapshot);
        for (name, moment) in &self.of {
            snapshot.put_u64(&state_entry(name, STEP), moment.step);
            snapshot.put_tensor(&state_entry(name, EXP_AVG), &moment.exp_avg);
            snapshot.put_tensor(&state_entry(name, EXP_AVG_SQ), &moment.exp_avg_sq);
        }
    }

    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let learning_rates = self.groups.saved_learning_rates(snapshot)?;
        let state = self.groups.saved_state(snapshot, &[EXP_AVG, EXP_AVG_SQ])?;
        let mut of = BTreeMap::new();
        for (name, mut kinds) in state {
            let step = snapshot.get_u64(&state_entry(&name, STEP))?;
            let mut take = |kind: &str| {
                let missing = || Error::state(state_entry(&name, kind), "not in the saved state");
                kinds.remove(kind).ok_or_else(missing)
            };
            let (exp_avg, exp_avg_sq) = (take(EXP_AVG)?, take(EXP_AVG_SQ)?);
            of.insert(name, Moment { step, exp_avg, exp_avg_sq });
        }
        self.of = of;
        self.groups.set_learning_rates(learning_rates);
        Ok(())
    }
}

impl Moment {
    fn new(like: &Tensor) -> Result<Self> {
        let zeros = like.zeros_like()?;
        Ok(Self { step: 0, exp_avg: zeros.clone(), exp_avg_sq: zeros })
    }

    fn next(&self, gradient: &Tensor, (beta1, beta2): (f64, f64)) -> Result<Self> {
        // As PyTorch rounds: the first an interpolation, the second a weighted sum.
        let towards = ((gradient - &self.exp_avg)? * (1.0 - beta1))?;
        let exp_avg = (&self.exp_avg + towards)?;
        let exp_avg_sq = ((&self.exp_avg_sq * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
        Ok(Self { step: self.step + 1, exp_avg, exp_avg_sq })
    }

    /// What is subtracted from the parameter: the bias-corrected first moment over the root of the
    /// second.
    fn parameter_step(
        &self,
        learning_rate: f64,
        (beta1, beta2): (f64, f64),
        eps: f64,
    ) -> Result<Tensor> {
        let correction1 = 1.0 - beta1.powf(self.step as f64);
        let correction2 = 1.0 - beta2.powf(self.step as f64);
        let denominator = self.exp_avg_sq.sqrt()?.affine(1.0 / correction2.sqrt(), eps)?;
        Ok(((&self.exp_avg / denominator)? * (learning_rate / correction1))?)
    }
}
