//! Normalization: values brought to mean 0 and variance 1, each by the statistics of its group.
//!
//! Which values share their statistics tells the kinds apart: a channel over the batch ([`BatchNorm`]), a sample's
//! features ([`RowNorm`]: layer and root-mean-square normalization), a place's channels ([`ChannelNorm`]), a group of a
//! sample's channels ([`GroupNorm`]; groups of one channel are instance normalization). [`WeightNorm`] is of another
//! kind: it gives each row of a weight its length.
//!
//! The others subtract a mean that was rounded to the element type first and add what the rounding left out afterwards,
//! so that a mean of 1e4 leaves the digits of a spread of 1e-2 in f32.

mod batch;
mod channels;
mod group;
mod local_response;
mod moments;
mod planes;
mod rows;
mod strips;
mod weight;

pub use batch::{BatchNorm, Statistics};
pub use channels::ChannelNorm;
pub use group::GroupNorm;
pub use local_response::LocalResponseNorm;
pub use rows::{Row, RowNorm};
pub use weight::WeightNorm;

use crate::linear::Gradient;

/// What goes into a normalization: y = f(w · x̂ + b + r), where x̂ is x normalised.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a, T> {
    /// x.
    pub x: &'a [T],
    /// w, where there is one.
    pub weight: Option<&'a [T]>,
    /// b, where there is one.
    pub bias: Option<&'a [T]>,
    /// r of the shape of x, where the kind has one.
    pub residual: Option<&'a [T]>,
}

/// Where the gradients of an [`Input`] go, as far as they are wanted.
#[derive(Debug)]
pub struct Gradients<'a, T> {
    /// That of x.
    pub x: Gradient<'a, T>,
    /// That of w.
    pub weight: Gradient<'a, T>,
    /// That of b.
    pub bias: Gradient<'a, T>,
    /// That of r.
    pub residual: Gradient<'a, T>,
}

impl<T> Default for Gradients<'_, T> {
    fn default() -> Self {
        Self { x: None, weight: None, bias: None, residual: None }
    }
}
