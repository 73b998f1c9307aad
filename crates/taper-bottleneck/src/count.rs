//! What a block costs: by its own statement over shapes, and by what really ran.
//!
//! | | |
//! |---|---|
//! | parameters | the elements that an optimizer trains; a tensor that is used twice is counted once, and running statistics are none |
//! | MACs | products of a weight and an activation, each with its addition: convolutions and linear layers, without their biases |
//! | FLOPs | all arithmetic: two a MAC; one an element for a bias, a residual, a gate and an activation of any kind; k · l an element for a pooling of k × l, one an element of x for an adaptive one; normalizations in evaluation 2 an element by given statistics, 6 by those of the sample, 4 by a root mean square, 2 · size + 3 by neighbouring channels |
//! | activations | the elements of the results of all operations, which the forward pass leaves for the backward pass; what a kernel does in one pass (a normalization, its residual and its rectifier) is one result |
//! | nonlinearities | how often an activation that is not the identity is applied; the maximum of a pooling is none |
//! | depth | the most layers with MACs on a way from the input to the output |
//! | receptive field | the rows and columns of the input that one place of the output depends on, with what lies in the padding; *whole* behind a global pooling, a gate of one, and a layer over all features |
//!
//! Popular counters call MACs FLOPs, count a shared weight twice or miss a product that is no layer: hence two numbers with two
//! names, and two ways to get them. [`Counted`] walks over shapes and needs no memory where the network has none ([`meta`]);
//! [`trace`] counts the operations of a real forward pass, whatever code made them. The tests of this crate hold one
//! against the other for every block and network.

mod budget;
mod cost;
mod counter;
mod flow;
mod layers;
mod meta;
mod summary;
mod trace;

pub use budget::{Budget, width_for};
pub use cost::{Cost, Total};
pub use counter::{Counted, Counter};
pub use flow::{Flow, ReceptiveField};
pub(crate) use layers::NormWith;
pub use meta::meta;
pub use summary::{Row, Summary, summary};
pub use trace::trace;
