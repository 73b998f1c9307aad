//! The table.

use std::fmt;

use candle_core::DType;
use comfy_table::{CellAlignment, Row as Line, Table, TableStyle, presets};
use serde::Serialize;
use taper_core::{Error, Result};

use super::{Cost, Counted, Counter, Flow, ReceptiveField, Total};

/// A layer or block in a [`Summary`], with all that is within it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Row {
    /// Its name in the block that it is a part of, as in a state dict.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// How many blocks it is within.
    pub level: usize,
    /// The shape of what comes out.
    pub output: Vec<usize>,
    /// What it costs; parameters that a row above counted cost nothing.
    #[serde(flatten)]
    pub cost: Cost,
    /// What of the input one place of its output depends on.
    pub receptive_field: Option<ReceptiveField>,
}

/// What a network costs for one input, layer by layer.
///
/// It prints as a table; [`to_markdown`](Self::to_markdown) and [`to_json`](Self::to_json) write it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What was counted.
    pub kind: String,
    /// The shape of the input.
    pub input: Vec<usize>,
    /// The shape of the output.
    pub output: Vec<usize>,
    /// The sum.
    pub total: Total,
    /// Elements that layers remember and nothing trains: running statistics, without the number of batches.
    pub buffers: u64,
    /// The layers and blocks in the order of the forward pass.
    pub rows: Vec<Row>,
}

/// What this network costs for an input of this shape; see the [counting rules](crate::Cost).
///
/// # Errors
/// An input that does not fit, which names the layer.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::DType;
/// use taper_bottleneck::{BottleneckConfig, bottleneck, meta, summary};
///
/// let block = bottleneck(256, 256, BottleneckConfig::default(), meta(DType::F32))?;
/// let summary = summary(&block, &[1, 256, 16, 16])?;
/// // 2 · 256 · 64 + 9 · 64² weights, and two numbers for each channel of the norms.
/// assert_eq!(summary.total.cost.parameters, 69_632 + 2 * (64 + 64 + 256));
/// assert_eq!(summary.total.cost.macs, 69_632 * 16 * 16);
/// # Ok(())
/// # }
/// ```
pub fn summary(network: &dyn Counted, input: &[usize]) -> Result<Summary> {
    if input.is_empty() || input.contains(&0) {
        let expected = "a shape with a batch axis and no axis of 0";
        return Err(Error::argument("summary", "input", expected, format!("{input:?}")));
    }
    let mut counter = Counter::default();
    let y = network.count(&Flow::input(input), &mut counter)?;
    let (rows, cost, buffers) = counter.finish();
    let total = Total { cost, depth: y.depth(), receptive_field: y.receptive_field() };
    let output = y.dims().to_vec();
    Ok(Summary {
        kind: network.kind().to_owned(),
        input: input.to_vec(),
        output,
        total,
        buffers,
        rows,
    })
}

const HEADINGS: [&str; 8] =
    ["layer", "kind", "output", "parameters", "MACs", "FLOPs", "activations", "field"];

impl Summary {
    /// The table in Markdown.
    pub fn to_markdown(&self) -> String {
        self.table(presets::ASCII_MARKDOWN).to_string()
    }

    /// All of it in JSON.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::argument("Summary::to_json", "self", "as JSON", error))
    }

    fn table(&self, style: TableStyle) -> Table {
        let mut table = Table::new();
        table.load_style(style).set_header(HEADINGS);
        for row in &self.rows {
            let name = format!("{}{}", "  ".repeat(row.level), row.name);
            table.add_row(line(&name, &row.kind, &row.output, &row.cost, row.receptive_field));
        }
        let Total { cost, receptive_field, .. } = &self.total;
        table.add_row(line("total", &self.kind, &self.output, cost, *receptive_field));
        for column in 3..HEADINGS.len() {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }
}

fn line(
    name: &str,
    kind: &str,
    output: &[usize],
    cost: &Cost,
    field: Option<ReceptiveField>,
) -> Line {
    let numbers = [cost.parameters, cost.macs, cost.flops, cost.activations];
    let mut cells = vec![name.to_owned(), kind.to_owned(), format!("{output:?}")];
    cells.extend(numbers.map(thousands));
    cells.push(field.map(|field| field.to_string()).unwrap_or_default());
    cells.into()
}

/// 25557032 as 25,557,032.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, input, total, buffers, .. } = self;
        let Total { cost, depth, receptive_field } = total;
        writeln!(f, "{kind}, input {input:?}")?;
        writeln!(f, "{}", self.table(presets::UTF8_HORIZONTAL_ONLY))?;
        writeln!(
            f,
            "parameters        {} (and {} buffered)",
            thousands(cost.parameters),
            thousands(*buffers)
        )?;
        writeln!(f, "MACs              {:.3} G", cost.macs as f64 / 1e9)?;
        writeln!(f, "FLOPs             {:.3} G", cost.flops as f64 / 1e9)?;
        writeln!(f, "depth             {depth} layers, {} nonlinearities", cost.nonlinearities)?;
        if let Some(field) = receptive_field {
            writeln!(f, "receptive field   {field}")?;
        }
        let mega = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "memory in F32     {:.1} MB of parameters, {:.1} MB of activations; training holds {:.1} MB and the optimizer's",
            mega(4 * cost.parameters),
            mega(cost.activation_bytes(DType::F32)),
            mega(cost.training_bytes(DType::F32)),
        )
    }
}
