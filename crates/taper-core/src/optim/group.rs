//! Parameter groups: which parameters an optimizer moves, and how fast.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use candle_core::{Tensor, Var};

use crate::clip::clipping;
use crate::state::check_form;
use crate::{Error, Gradient, GradientStore, Result, Snapshot};

/// Parameters that share a learning rate and a weight decay.
#[derive(Debug, Clone)]
pub struct ParamGroup {
    /// The names and variables, as [`Parameters::trainable`](crate::Parameters::trainable) gives
    /// them. A name and a variable are in one group only.
    pub parameters: Vec<(String, Var)>,
    /// The learning rate; `None` is that of the optimizer's configuration.
    pub learning_rate: Option<f64>,
    /// The weight decay; `None` is that of the optimizer's configuration.
    pub weight_decay: Option<f64>,
}

impl ParamGroup {
    /// A group with the learning rate and weight decay of the optimizer's configuration.
    pub fn new(parameters: Vec<(String, Var)>) -> Self {
        Self { parameters, learning_rate: None, weight_decay: None }
    }
}

/// The groups of one optimizer, with every default filled in.
#[derive(Debug)]
pub(super) struct Groups {
    operation: &'static str,
    groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) parameters: Vec<(String, Var)>,
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
}

/// A parameter that a step moves.
pub(super) struct Moved<'a, M> {
    pub(super) group: &'a Group,
    pub(super) var: &'a Var,
    pub(super) gradient: Gradient<'a>,
    pub(super) remembered: &'a mut Option<M>,
}

impl Groups {
    /// `operation` is the optimizer's name, for its errors.
    pub(super) fn new(
        operation: &'static str,
        groups: Vec<ParamGroup>,
        learning_rate: f64,
        weight_decay: f64,
    ) -> Result<Self> {
        let (mut names, mut variables) = (BTreeSet::new(), HashSet::new());
        for (name, var) in groups.iter().flat_map(|group| &group.parameters) {
            if !names.insert(name.as_str()) {
                return Err(Error::argument(operation, "parameters", "each name once", name));
            }
            if !variables.insert(var.id()) {
                let received = format!("that of {name} twice");
                return Err(Error::argument(
                    operation,
                    "parameters",
                    "each variable once",
                    received,
                ));
            }
        }
        let groups = groups
            .into_iter()
            .map(|group| {
                let learning_rate = group.learning_rate.unwrap_or(learning_rate);
                let weight_decay = group.weight_decay.unwrap_or(weight_decay);
                Ok(Group {
                    parameters: group.parameters,
                    learning_rate: at_least_zero(operation, "learning_rate", learning_rate)?,
                    weight_decay: at_least_zero(operation, "weight_decay", weight_decay)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { operation, groups })
    }

    /// Every parameter with its group and name, in the order in which optimizers keep what they remember.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&Group, &str, &Var)> {
        self.groups.iter().flat_map(|group| {
            group.parameters.iter().map(move |(name, var)| (group, name.as_str(), var))
        })
    }

    /// The parameters that have a gradient, each with what is remembered of it.
    pub(super) fn with_gradients<'a, M>(
        &'a self,
        gradients: &'a dyn GradientStore,
        remembered: &'a mut [Option<M>],
    ) -> Result<Vec<Moved<'a, M>>> {
        let mut moved = Vec::with_capacity(remembered.len());
        for ((group, name, var), remembered) in self.parameters().zip(remembered) {
            let Some(gradient) = gradients.get(var)? else { continue };
            if !gradient.fits(var) {
                let of = format!("the gradient of {name}");
                let expected = format!("{:?} of shape {:?}, as that is", var.dtype(), var.dims());
                return Err(Error::argument(self.operation, of, expected, gradient.form()));
            }
            moved.push(Moved { group, var, gradient, remembered });
        }
        Ok(moved)
    }

    /// The norm of all gradients, and the factor that makes it at most `max_norm`.
    pub(super) fn clipping(
        &self,
        gradients: &dyn GradientStore,
        max_norm: f64,
    ) -> Result<(f64, f64)> {
        let found = self.parameters().filter_map(|(_, _, var)| gradients.get(var).transpose());
        clipping(found.collect::<Result<_>>()?, max_norm)
    }

    pub(super) fn learning_rate(&self, group: usize) -> Result<f64> {
        let found = self.groups.get(group).map(|group| group.learning_rate);
        found.ok_or_else(|| self.no_such_group(group))
    }

    pub(super) fn set_learning_rate(&mut self, group: usize, learning_rate: f64) -> Result<()> {
        let learning_rate = at_least_zero(self.operation, "learning_rate", learning_rate)?;
        match self.groups.get_mut(group) {
            Some(group) => group.learning_rate = learning_rate,
            None => return Err(self.no_such_group(group)),
        }
        Ok(())
    }

    fn no_such_group(&self, group: usize) -> Error {
        let expected = format!("below {}, the number of groups", self.groups.len());
        Error::argument(self.operation, "group", expected, group)
    }

    pub(super) fn save(&self, snapshot: &mut Snapshot) {
        for (at, group) in self.groups.iter().enumerate() {
            snapshot.put_f64(&rate_entry(at), group.learning_rate);
        }
    }

    /// The saved learning rates, for [`Groups::set_learning_rates`] once all else was read.
    pub(super) fn saved_learning_rates(&self, snapshot: &Snapshot) -> Result<Vec<f64>> {
        let saved = |at| snapshot.get_f64(&rate_entry(at));
        (0..self.groups.len())
            .map(|at| at_least_zero(self.operation, "saved learning_rate", saved(at)?))
            .collect()
    }

    pub(super) fn set_learning_rates(&mut self, learning_rates: Vec<f64>) {
        for (group, learning_rate) in self.groups.iter_mut().zip(learning_rates) {
            group.learning_rate = learning_rate;
        }
    }

    /// The saved tensors called `state.<parameter>.<kind>`, by parameter. A parameter that never had
    /// a gradient has none.
    pub(super) fn saved_state(
        &self,
        snapshot: &Snapshot,
        kinds: &[&str],
    ) -> Result<BTreeMap<String, BTreeMap<String, Tensor>>> {
        let variables: BTreeMap<&str, &Var> =
            self.parameters().map(|(_, name, var)| (name, var)).collect();
        let mut state: BTreeMap<String, BTreeMap<String, Tensor>> = BTreeMap::new();
        for (entry, tensor) in snapshot.tensors() {
            let parts = entry.strip_prefix("state.").and_then(|rest| rest.rsplit_once('.'));
            let known = parts.and_then(|(name, kind)| {
                kinds.contains(&kind).then_some((name, kind, *variables.get(name)?))
            });
            let Some((name, kind, var)) = known else {
                let reason = format!("{} has no parameter that remembers this", self.operation);
                return Err(Error::state(entry, reason));
            };
            check_form(entry, var, tensor)?;
            let tensor = tensor.to_device(var.device())?;
            state.entry(name.to_owned()).or_default().insert(kind.to_owned(), tensor);
        }
        Ok(state)
    }
}

fn rate_entry(group: usize) -> String {
    format!("group.{group}.learning_rate")
}

/// The entry under which `kind` of the parameter `name` is saved.
pub(super) fn state_entry(name: &str, kind: &str) -> String {
    format!("state.{name}.{kind}")
}

/// `value`, or an error where it is negative, infinite or NaN.
pub(super) fn at_least_zero(operation: &'static str, argument: &str, value: f64) -> Result<f64> {
    if value >= 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(Error::argument(operation, argument, "finite and at least 0", value))
}
