//! What a block says of itself.

use std::collections::HashSet;

use candle_core::{Tensor, TensorId};
use taper_core::Result;

use super::{Cost, Flow, Row};

/// A block that states what it costs.
///
/// [`count`](Self::count) has the form of the forward pass, over shapes: each layer is handed to the counter, and the result's
/// way goes to the next. A network of one's own is counted by the same three lines a layer:
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::DType;
/// use taper_bottleneck::{Counted, Counter, Flow, meta, summary};
/// use taper_core::{Activation, Linear, LinearConfig, linear};
///
/// struct Mlp {
///     hidden: Linear,
///     top: Linear,
/// }
///
/// impl Counted for Mlp {
///     fn kind(&self) -> &'static str {
///         "Mlp"
///     }
///
///     fn count(&self, x: &Flow, counter: &mut Counter) -> taper_core::Result<Flow> {
///         let x = counter.layer("hidden", &self.hidden, x)?;
///         counter.layer("top", &self.top, &x)
///     }
/// }
///
/// let vb = meta(DType::F32);
/// let relu = LinearConfig { activation: Activation::Relu, ..Default::default() };
/// let hidden = linear(784, 100, relu, vb.pp("hidden"))?;
/// let mlp = Mlp { hidden, top: linear(100, 10, LinearConfig::default(), vb.pp("top"))? };
/// let total = summary(&mlp, &[1, 784])?.total;
/// assert_eq!((total.cost.parameters, total.cost.macs), (79_510, 79_400));
/// // 2 a MAC, the biases, 100 rectifiers.
/// assert_eq!((total.cost.flops, total.cost.nonlinearities, total.depth), (159_010, 1, 2));
/// # Ok(())
/// # }
/// ```
pub trait Counted {
    /// What it is called in a table.
    fn kind(&self) -> &'static str;

    /// Counts what a forward pass of x costs, and says what comes out.
    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow>;
}

/// Adds up what blocks and layers state.
#[derive(Debug, Default)]
pub struct Counter {
    rows: Vec<Row>,
    level: usize,
    total: Cost,
    buffers: u64,
    counted: HashSet<TensorId>,
}

impl Counter {
    /// A layer or block under this name: a row of the table, with all that is within it.
    pub fn layer(&mut self, name: &str, layer: &dyn Counted, x: &Flow) -> Result<Flow> {
        self.group(name, layer.kind(), |counter| layer.count(x, counter))
    }

    /// A row of the table for what `count` counts.
    pub fn group(
        &mut self,
        name: &str,
        kind: &str,
        count: impl FnOnce(&mut Self) -> Result<Flow>,
    ) -> Result<Flow> {
        let (at, before) = (self.rows.len(), self.total);
        let (name, kind) = (name.to_owned(), kind.to_owned());
        self.rows.push(Row { name, kind, level: self.level, ..Row::default() });
        self.level += 1;
        let y = count(self);
        self.level -= 1;
        let y = y?;
        if let Some(row) = self.rows.get_mut(at) {
            row.cost = self.total - before;
            row.output = y.dims().to_vec();
            row.receptive_field = y.receptive_field();
        }
        Ok(y)
    }

    /// A tensor that an optimizer trains; one that was counted already costs nothing.
    pub fn parameter(&mut self, tensor: &Tensor) {
        if self.counted.insert(tensor.id()) {
            self.total.parameters += tensor.elem_count() as u64;
        }
    }

    /// A tensor that a layer remembers and nothing trains.
    pub(super) fn buffer(&mut self, tensor: &Tensor) {
        if self.counted.insert(tensor.id()) {
            self.buffers += tensor.elem_count() as u64;
        }
    }

    /// A cost that no layer states, beside [parameters](Self::parameter).
    pub fn cost(&mut self, cost: Cost) {
        self.total += cost;
    }

    pub(super) fn finish(self) -> (Vec<Row>, Cost, u64) {
        (self.rows, self.total, self.buffers)
    }
}
