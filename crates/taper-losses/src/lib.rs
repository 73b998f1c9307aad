//! Cost functions for candle, each with the same options, a defined answer for empty means, and its evidence.
//!
//! A loss is a function over tensors that takes an options value: [`LossOptions`] itself where there is nothing else to
//! choose, [`ClassOptions`] or its own, which hold it as `loss` or `classes.loss`. On every one whose samples have losses of
//! their own:
//!
//! - [`Reduction`]: the unreduced losses, their sum, their mean, or their mean over the weights.
//! - `sample_weights` and `mask`, of the leading part of the losses' shape: (N) weighs the samples of
//!   losses (N, T), (N, T) each of them. What a mask leaves out counts for nothing, even where it is NaN.
//! - [`Empty`]: what a mean is when nothing is left to average.
//! - The loss of f64 is f64; that of f32, bf16 and f16 is computed and returned in f32.
//! - Gradients go to what is learned, as each card says: the first argument, of pairs, triplets and divergences of two
//!   distributions all. What is called a target, and weights, are detached.
//!
//! Losses of a whole batch at once, such as [`vicreg`] or [`mmd`], and penalties have no losses to weigh or to mask.
//!
//! # Who means what by "mean"
//! | | here, by default | PyTorch 2.15, `mean` | Keras 3, `sum_over_batch_size` |
//! |---|---|---|---|
//! | MSE, weights | over the weights | over the weights | over the count |
//! | BCE with logits, weights | over the weights | over the count | over the count |
//! | cross-entropy of indices, class weights | over the weights | over the weights | over the count |
//! | cross-entropy of probabilities, class weights | over the weights | over the count | over the count |
//! | cross-entropy, ignored labels | over the others | over the others | over the others |
//! | nothing to average | an error | NaN | 0 |
//!
//! The count is [`Reduction::Mean`], the weights are [`Reduction::WeightedMean`]. Class weights of Keras are
//! sample weights, each that of the sample's class.

mod arguments;
mod classes;
mod classification;
mod composition;
mod divergence;
mod elements;
mod elementwise;
mod embeddings;
mod fused;
mod metric;
mod options;
mod regression;
mod target;

pub use classes::ClassOptions;
pub use classification::*;
pub use composition::*;
pub use divergence::*;
pub use metric::*;
pub use options::{Empty, LossOptions, Reduction};
pub use regression::*;
pub use taper_core::{Error, Result};
pub use target::Target;
