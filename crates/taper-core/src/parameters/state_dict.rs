//! Whether a state dict has the tensors of a model, and where it does not: all of it, in one error.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor, Var};
use safetensors::tensor::TensorView;

use crate::{Error, Result};

/// The last part of the name of a norm's count, which old files do not have.
const COUNT: &str = "num_batches_tracked";

/// How much a state dict may differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// As PyTorch loads it: floating dtypes are converted, and the counts of norms may be missing.
    StateDict,
    /// Not at all.
    Exact,
}

/// The dtype and shape of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    dtype: Kind,
    dims: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Known(DType),
    /// One that candle does not have.
    Other(safetensors::Dtype),
}

/// A tensor of a state dict, whose form is known before its value is read.
pub(super) trait Entry {
    fn form(&self) -> Form;
    fn value(&self) -> Result<Tensor>;
}

impl Entry for &Tensor {
    fn form(&self) -> Form {
        Form { dtype: Kind::Known(self.dtype()), dims: self.dims().to_vec() }
    }

    fn value(&self) -> Result<Tensor> {
        Ok((*self).clone())
    }
}

impl Entry for TensorView<'_> {
    fn form(&self) -> Form {
        let dtype = self.dtype();
        let dtype = DType::try_from(dtype).map_or(Kind::Other(dtype), Kind::Known);
        Form { dtype, dims: self.shape().to_vec() }
    }

    fn value(&self) -> Result<Tensor> {
        Ok(self.load(&Device::Cpu)?)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.dtype {
            Kind::Known(dtype) => write!(f, "{dtype:?}")?,
            Kind::Other(dtype) => write!(f, "{dtype:?}")?,
        }
        write!(f, " of shape {:?}", self.dims)
    }
}

impl Form {
    /// Whether a tensor of this form gives the value of one of form `other`.
    fn fits(&self, other: &Self, strictness: Strictness) -> bool {
        let converted = strictness == Strictness::StateDict && self.is_float() && other.is_float();
        self.dims == other.dims && (self.dtype == other.dtype || converted)
    }

    fn is_float(&self) -> bool {
        use DType::{BF16, F16, F32, F64};
        matches!(self.dtype, Kind::Known(F16 | BF16 | F32 | F64))
    }
}

/// An error that lists all that keeps a state dict from being that of `variables`.
pub(super) fn check<E: Entry>(
    variables: &BTreeMap<String, Var>,
    state: &BTreeMap<&str, E>,
    strictness: Strictness,
) -> Result<()> {
    let misfits = Misfits::of(variables, state, strictness);
    let Some(first) = misfits.first() else { return Ok(()) };
    let expected = format!("the model's {} tensors", variables.len());
    let received = format!("{misfits}{}", hint(variables, state));
    Err(match strictness {
        Strictness::StateDict => Error::argument("load", "state", expected, received),
        Strictness::Exact => {
            Error::state(first, format!("the saved state should be {expected}, got {received}"))
        }
    })
}

/// What does not fit, in the order of the names.
#[derive(Default)]
struct Misfits<'a> {
    missing: Vec<(&'a str, String)>,
    unexpected: Vec<(&'a str, String)>,
    others: Vec<(&'a str, String)>,
}

impl<'a> Misfits<'a> {
    fn of<E: Entry>(
        variables: &'a BTreeMap<String, Var>,
        state: &BTreeMap<&'a str, E>,
        strictness: Strictness,
    ) -> Self {
        let mut misfits = Self::default();
        let counts_may_differ = strictness == Strictness::StateDict;
        for (name, var) in variables {
            let expected = var.as_tensor().form();
            match state.get(name.as_str()).map(Entry::form) {
                Some(found) if found.fits(&expected, strictness) => {}
                Some(found) => {
                    misfits.others.push((name, format!("expected {expected}, found {found}")));
                }
                None if counts_may_differ && norm_of_count(name).is_some() => {}
                None => misfits.missing.push((name, expected.to_string())),
            }
        }
        for (name, found) in state.iter().filter(|(name, _)| !variables.contains_key(**name)) {
            let counts_nothing = norm_of_count(name)
                .is_some_and(|norm| variables.contains_key(&format!("{norm}running_mean")));
            if !(counts_may_differ && counts_nothing) {
                misfits.unexpected.push((name, found.form().to_string()));
            }
        }
        misfits
    }

    /// Its lists, and what each is called.
    fn lists(&self) -> [(&'static str, &[(&'a str, String)]); 3] {
        [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("of another shape or dtype", &self.others),
        ]
    }

    /// The name of the first, if there is one.
    fn first(&self) -> Option<&'a str> {
        self.lists().iter().find_map(|(_, list)| list.first().map(|(name, _)| *name))
    }
}

impl fmt::Display for Misfits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = self.lists();
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        let counts = lists.clone().map(|(called, list)| format!("{} {called}", list.len()));
        write!(f, "{}; nothing has changed", counts.collect::<Vec<_>>().join(", "))?;
        for (called, list) in lists {
            write!(f, "\n{called}:")?;
            for (name, form) in *list {
                write!(f, "\n    {name}: {form}")?;
            }
        }
        Ok(())
    }
}

/// What is before `num_batches_tracked` in the name of a norm's count, up to and with the dot.
fn norm_of_count(name: &str) -> Option<&str> {
    name.strip_suffix(COUNT).filter(|norm| norm.is_empty() || norm.ends_with('.'))
}

/// What to do where a prefix is all that is wrong with the unexpected names.
fn hint<E>(variables: &BTreeMap<String, Var>, state: &BTreeMap<&str, E>) -> String {
    let unexpected: Vec<&str> =
        state.keys().copied().filter(|name| !variables.contains_key(*name)).collect();
    let missing = |name: &str| variables.contains_key(name) && !state.contains_key(name);
    let Some(first) = unexpected.first() else { return String::new() };
    let mut shorter = first.match_indices('.').filter_map(|(dot, _)| first.get(..=dot));
    let bare = |name: &&str, prefix| name.strip_prefix(prefix).is_some_and(missing);
    if let Some(prefix) = shorter.find(|prefix| unexpected.iter().all(|name| bare(name, *prefix))) {
        return format!(
            "\nall unexpected names fit without `{prefix}`: take it off them, or build the model with \
             `vb.pp(\"{}\")`",
            prefix.trim_end_matches('.')
        );
    }
    let mut longer = variables.keys().filter_map(|name| name.strip_suffix(first));
    match longer.find(|prefix| unexpected.iter().all(|name| missing(&format!("{prefix}{name}")))) {
        Some(prefix) => format!("\nall unexpected names fit with `{prefix}` before them"),
        None => String::new(),
    }
}
