//! Distributions over classes, in the forms in which a model gives them.

use candle_core::Tensor;
use taper_core::Result;

use crate::LossOptions;
use crate::arguments::{beside, expect_probabilities, precision};
use crate::classes::{class_axis, class_axis_last, log_softmax};
use crate::elements::Elements;

/// Distributions over classes, which lie along one axis, and what the numbers are.
#[derive(Debug, Clone, Copy)]
pub enum Distribution<'a> {
    /// Probabilities, each from 0 to 1. That the classes of a sample sum to 1 is not checked.
    Probabilities(&'a Tensor),
    /// Logarithms of probabilities, −∞ for 0, as a log-softmax gives them. They are not checked.
    LogProbabilities(&'a Tensor),
    /// Any numbers, whose softmax is meant.
    Logits(&'a Tensor),
}

impl<'a> Distribution<'a> {
    fn tensor(self) -> &'a Tensor {
        match self {
            Self::Probabilities(x) | Self::LogProbabilities(x) | Self::Logits(x) => x,
        }
    }

    fn form(self) -> Form {
        match self {
            Self::Probabilities(_) => Form::Probabilities,
            Self::LogProbabilities(_) => Form::LogProbabilities,
            Self::Logits(_) => Form::Logits,
        }
    }
}

/// What the numbers of a distribution are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Probabilities,
    LogProbabilities,
    Logits,
}

/// Rows of probabilities (rows, C) and their logarithms.
pub(super) struct Rows {
    pub(super) p: Tensor,
    pub(super) log_p: Tensor,
}

impl Rows {
    /// Of numbers (rows, C). The logarithm of a probability of 0 is −∞, without a gradient.
    pub(super) fn new(form: Form, x: &Tensor) -> Result<Self> {
        let log_p = match form {
            Form::Probabilities => {
                let none = x.eq(0.0)?;
                let log = none.where_cond(&x.ones_like()?, x)?.log()?;
                let log_p = none.where_cond(&(x.ones_like()? * f64::NEG_INFINITY)?, &log)?;
                return Ok(Self { p: x.clone(), log_p });
            }
            Form::LogProbabilities => x.clone(),
            Form::Logits => log_softmax(x)?,
        };
        Ok(Self { p: log_p.exp()?, log_p })
    }
}

/// The checked arguments of a divergence of two distributions.
pub(super) struct Pair {
    pub(super) classes: usize,
    /// The class axis last, in the dtype of the computation.
    pub(super) input: Tensor,
    pub(super) form: Form,
    pub(super) elements: Elements,
    /// As `input`, but 0 in the rows that do not count.
    other: Tensor,
    pub(super) other_form: Form,
}

impl Pair {
    /// Of two arguments of these names.
    pub(super) fn new(
        operation: &'static str,
        (name, input): (&'static str, Distribution<'_>),
        (other_name, other): (&'static str, Distribution<'_>),
        chosen_axis: Option<usize>,
        options: &LossOptions,
    ) -> Result<Self> {
        let (form, other_form) = (input.form(), other.form());
        let (input, other) = (input.tensor(), other.tensor());
        let dtype = precision(operation, name, input)?;
        let other = beside(operation, other_name, other, name, input)?;
        let axis = class_axis(operation, name, input, chosen_axis)?;
        let classes = input.dim(axis)?;
        let input = class_axis_last(input, axis)?.to_dtype(dtype)?;
        let shape = &input.dims()[..input.rank() - 1];
        let elements = Elements::new(operation, name, shape, options)?;
        let other = elements.hide(&class_axis_last(&other, axis)?)?;
        if form == Form::Probabilities {
            expect_probabilities(
                operation,
                name,
                &class_axis_back(&elements.hide(&input)?, axis)?,
            )?;
        }
        if other_form == Form::Probabilities {
            expect_probabilities(operation, other_name, &class_axis_back(&other, axis)?)?;
        }
        Ok(Self { classes, input, form, elements, other, other_form })
    }

    /// Both, with their gradients, where they count.
    pub(super) fn rows(&self) -> Result<[Rows; 2]> {
        let input = self.elements.hide(&self.input)?.reshape(self.shape())?;
        Ok([Rows::new(self.form, &input)?, Rows::new(self.other_form, &self.other()?)?])
    }

    /// The numbers of the second of them, (rows, C).
    pub(super) fn other(&self) -> Result<Tensor> {
        Ok(self.other.reshape(self.shape())?)
    }

    /// The value of a divergence from that of each row.
    pub(super) fn reduce(self, divergences: &Tensor) -> Result<Tensor> {
        let divergences = divergences.reshape(self.elements.shape())?;
        self.elements.reduce_losses(divergences, None)
    }

    fn shape(&self) -> (usize, usize) {
        (self.elements.shape().elem_count(), self.classes)
    }
}

/// `tensor`, whose last axis was the axis `axis`, as it was.
fn class_axis_back(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let last = tensor.rank() - 1;
    let order: Vec<usize> = (0..axis).chain([last]).chain(axis..last).collect();
    Ok(tensor.permute(order)?)
}
