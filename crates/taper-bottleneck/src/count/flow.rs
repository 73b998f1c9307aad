//! A tensor on its way through a network, without its values.

use std::fmt;

use serde::Serialize;
use taper_core::{Error, Result};

/// The shape of a tensor on its way through a network, and what came before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    dims: Vec<usize>,
    depth: u64,
    /// Of rows and columns; `None` where the input is no image.
    seen: Option<[Seen; 2]>,
}

/// What a place depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The first place sees `low..=high` of the input, and each further one `jump` more.
    Range { low: i64, high: i64, jump: i64 },
    /// Everything.
    Whole,
}

/// How far one place of the output sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceptiveField {
    /// So many rows and columns, also those that lie in the padding.
    Pixels {
        /// Rows.
        height: u64,
        /// Columns.
        width: u64,
    },
    /// The whole input.
    Whole,
}

impl fmt::Display for ReceptiveField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pixels { height, width } if height == width => f.pad(&height.to_string()),
            Self::Pixels { height, width } => f.pad(&format!("{height}x{width}")),
            Self::Whole => f.pad("whole"),
        }
    }
}

impl Seen {
    /// What a place sees through a window over what saw this.
    pub(super) fn through(
        self,
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: usize,
    ) -> Self {
        let Self::Range { low, high, jump } = self else {
            return Self::Whole;
        };
        let [kernel, stride, dilation, padding] =
            [kernel, stride, dilation, padding].map(|it| it as i64);
        let low = low - padding * jump;
        Self::Range {
            low,
            high: high + (dilation * (kernel - 1) - padding) * jump,
            jump: jump * stride,
        }
    }

    /// What a place sees that depends on both.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (
                Self::Range { low, high, jump },
                Self::Range { low: other_low, high: other_high, .. },
            ) => Self::Range { low: low.min(other_low), high: high.max(other_high), jump },
            _ => Self::Whole,
        }
    }

    fn extent(self) -> Option<u64> {
        match self {
            Self::Range { low, high, .. } => Some(high.abs_diff(low) + 1),
            Self::Whole => None,
        }
    }
}

impl Flow {
    /// An input of this shape: an image (N, C, H, W), or features with any number of axes, the last one theirs.
    pub fn input(dims: &[usize]) -> Self {
        let place = Seen::Range { low: 0, high: 0, jump: 1 };
        Self { dims: dims.to_vec(), depth: 0, seen: (dims.len() == 4).then_some([place; 2]) }
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().map(|it| *it as u64).product()
    }

    /// The most layers with MACs on a way to here.
    pub fn depth(&self) -> u64 {
        self.depth
    }

    /// What of the input one place here depends on; `None` where the input was no image.
    pub fn receptive_field(&self) -> Option<ReceptiveField> {
        let [rows, columns] = self.seen?.map(Seen::extent);
        Some(match (rows, columns) {
            (Some(height), Some(width)) => ReceptiveField::Pixels { height, width },
            _ => ReceptiveField::Whole,
        })
    }

    /// N, C, H and W.
    pub(crate) fn image(&self, operation: &'static str) -> Result<[usize; 4]> {
        match self.dims[..] {
            [n, c, h, w] => Ok([n, c, h, w]),
            _ => Err(Error::argument(
                operation,
                "x",
                "an image (batch, channels, height, width)",
                format!("{:?}", self.dims),
            )),
        }
    }

    /// The same way with another shape.
    pub fn reshaped(&self, dims: &[usize]) -> Self {
        Self { dims: dims.to_vec(), ..self.clone() }
    }

    /// With all axes from the second on as one, as in front of a classifier.
    pub fn flattened(&self) -> Self {
        let (batch, features) = self.dims.split_first().unwrap_or((&1, &[]));
        self.reshaped(&[*batch, features.iter().product()])
    }

    /// Behind a layer with MACs.
    pub(super) fn deeper(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }

    /// With another view of the input.
    pub(super) fn seeing(self, change: impl Fn(usize, Seen) -> Seen) -> Self {
        let seen = self.seen.map(|[rows, columns]| [change(0, rows), change(1, columns)]);
        Self { seen, ..self }
    }

    /// Where this and another way meet: the shape of this one.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let seen = match (self.seen, other.seen) {
            (Some([a, b]), Some([c, d])) => Some([a.or(c), b.or(d)]),
            (one, other) => one.or(other),
        };
        Self { dims: self.dims.clone(), depth: self.depth.max(other.depth), seen }
    }
}
