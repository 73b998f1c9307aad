//! The rows: which work, which peers in which variants, and what we want of them.

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Program {
    /// Taper in a program with its settings.
    Ours,
    /// Taper in a program without.
    OursPlain,
    /// PyTorch.
    Torch,
    /// candle-nn.
    CandleNn,
    /// burn.
    Burn,
}

impl Program {
    pub(super) const ALL: [Self; 5] =
        [Self::Ours, Self::OursPlain, Self::Torch, Self::CandleNn, Self::Burn];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursPlain => "ours-plain",
            Self::Torch => "torch",
            Self::CandleNn => "candle-nn",
            Self::Burn => "burn",
        }
    }
}

/// One way to do a row's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) program: Program,
    /// Empty for the usual one.
    pub(super) variant: &'static str,
    pub(super) batch: usize,
    /// `None` for the program's own choice, which is one for each processor.
    pub(super) threads: Option<usize>,
}

impl Column {
    /// What the record calls it within its row, such as `torch+fused`, `ours/32` or `ours@1`.
    pub(super) fn name(&self, kind: Kind) -> String {
        let mut name = self.program.name().to_owned();
        if !self.variant.is_empty() {
            name = format!("{name}+{}", self.variant);
        }
        match (kind, self.threads) {
            (Kind::Batches, _) => format!("{name}/{}", self.batch),
            (Kind::Threads, Some(threads)) => format!("{name}@{threads}"),
            _ => name,
        }
    }
}

/// What a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Programs.
    Programs,
    /// Sizes of the batch, too.
    Batches,
    /// Numbers of threads, too.
    Threads,
}

/// What the ratio of our time to another's should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Target {
    pub(super) at_most: f64,
    pub(super) aim: f64,
}

const fn target(at_most: f64, aim: f64) -> Option<Target> {
    Some(Target { at_most, aim })
}

/// What a step's peak memory should be against PyTorch's: of the process, and above what it held before.
pub(super) const MEMORY: [Target; 2] =
    [Target { at_most: 0.3, aim: 0.1 }, Target { at_most: 1.0, aim: 0.7 }];

/// How much faster two threads should be than one.
pub(super) const TWO_THREADS: f64 = 1.7;

/// The sizes of the batch whose times make a curve.
pub(super) const BATCHES: [usize; 5] = [32, 64, 128, 256, 512];

/// One row of the record.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) work: &'static str,
    pub(super) kind: Kind,
    pub(super) columns: Vec<Column>,
    /// Against PyTorch with its default optimizer.
    pub(super) torch: Option<Target>,
    /// Against the faster of PyTorch's other variants.
    pub(super) best: Option<Target>,
}

/// A whole training step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) work: &'static str,
    pub(super) title: &'static str,
    pub(super) batch: usize,
    torch: Option<Target>,
    best: Option<Target>,
}

/// The whole training steps.
pub(super) const STEPS: [Step; 7] = [
    Step {
        work: "mlp",
        title: "MLP 784-512-512-10 with batch norm, batch 128",
        batch: 128,
        torch: target(0.65, 0.5),
        best: target(0.85, 0.7),
    },
    Step {
        work: "deep_ae",
        title: "deep autoencoder 784-1000-500-250-30 and back, batch 128",
        batch: 128,
        torch: target(0.65, 0.5),
        best: target(0.95, 0.85),
    },
    Step {
        work: "conv_ae",
        title: "convolutional autoencoder 28x28, batch 64",
        batch: 64,
        torch: target(0.8, 0.6),
        best: target(0.9, 0.7),
    },
    Step {
        work: "bottleneck",
        title: "bottleneck block 256-64-64-256, 16x16, batch 64",
        batch: 64,
        torch: target(0.8, 0.6),
        best: target(1.15, 0.8),
    },
    Step {
        work: "basic_block",
        title: "basic block of 64 channels, 16x16, batch 64",
        batch: 64,
        torch: target(1.1, 0.8),
        best: None,
    },
    Step {
        work: "inverted_residual",
        title: "inverted residual 24-144-24, 16x16, batch 64",
        batch: 64,
        torch: target(1.1, 0.8),
        best: None,
    },
    Step {
        work: "resnet18",
        title: "ResNet-18 with a 3x3 stem, 32x32, batch 64",
        batch: 64,
        torch: target(1.1, 0.8),
        best: None,
    },
];

pub(super) fn memory_name(step: &Step) -> String {
    format!("memory/{}", step.work)
}

/// The single operations: name, title, target.
const OPERATIONS: [(&str, &str, Option<Target>); 35] = [
    ("gemm_256", "matrix product 256", target(1.3, 1.0)),
    ("gemm_512", "matrix product 512", target(1.1, 1.0)),
    ("gemm_1024", "matrix product 1024", target(1.1, 1.0)),
    ("gemm_2048", "matrix product 2048", target(1.1, 1.0)),
    ("batch_norm_1d", "batch norm 256x512", target(1.0, 0.6)),
    ("batch_norm_2d", "batch norm 64x64x16x16", target(1.0, 0.6)),
    ("batch_norm_2d_relu", "batch norm 64x64x16x16 and ReLU", target(1.0, 0.6)),
    (
        "batch_norm_2d_add_relu",
        "batch norm 64x64x16x16, plus a residual, and ReLU",
        target(1.0, 0.6),
    ),
    ("layer_norm", "layer norm 4096x512", target(1.0, 0.6)),
    ("layer_norm_add", "layer norm 4096x512 plus a residual", target(1.0, 0.6)),
    ("rms_norm", "RMS norm 4096x512", target(1.0, 0.6)),
    ("group_norm", "group norm 64x64x16x16 in 32", target(1.0, 0.6)),
    ("group_norm_relu", "group norm 64x64x16x16 in 32 and ReLU", target(1.0, 0.6)),
    ("instance_norm", "instance norm 64x64x16x16", target(1.0, 0.6)),
    ("channel_layer_norm", "layer norm over the channels of 64x64x16x16", target(1.0, 0.6)),
    ("local_response_norm", "local response norm 64x64x16x16", target(1.0, 0.6)),
    ("spectral_norm", "spectral norm of a weight 512x512x3x3", target(1.0, 0.6)),
    ("weight_norm", "weight norm of a weight 512x512x3x3", target(1.0, 0.6)),
    ("cross_entropy", "cross-entropy 4096x1000", target(1.0, 0.6)),
    ("bce_with_logits", "binary cross-entropy 256x784", target(1.0, 0.6)),
    ("mse", "squared error 256x784", target(1.0, 0.6)),
    ("mae", "absolute error 256x784", target(1.0, 0.6)),
    ("huber", "Huber 256x784", target(1.0, 0.6)),
    ("sigmoid_focal", "sigmoid focal 256x784", target(1.0, 0.6)),
    ("kl_div", "Kullback-Leibler divergence 4096x1000", target(1.0, 0.6)),
    ("nt_xent", "NT-Xent of 256 pairs, 128 wide", target(1.0, 0.6)),
    ("conv_1x1", "convolution 1x1, 64 to 256, 64x64x16x16", target(0.6, 0.5)),
    ("conv_3x3", "convolution 3x3, 64 to 64, 64x64x16x16", target(1.2, 0.9)),
    ("conv_3x3_stride_2", "the same with stride 2", target(1.2, 0.9)),
    (
        "conv_1x1_stride_2",
        "convolution 1x1 with stride 2, 64 to 128, 64x64x16x16",
        target(0.8, 0.6),
    ),
    ("conv_grouped", "convolution 3x3 in 32 groups, 64x128x16x16", target(0.5, 0.3)),
    ("conv_depthwise", "depthwise convolution 3x3, 64x96x16x16", target(0.5, 0.3)),
    ("conv_depthwise_7x7", "depthwise convolution 7x7, 64x96x8x8", target(0.5, 0.3)),
    (
        "conv_transposed",
        "transposed convolution 4x4, stride 2, 64 to 32, 64x64x8x8",
        target(1.2, 0.9),
    ),
    ("adamw_3m", "AdamW step on 3 million parameters", None),
];

const USUAL: Column = Column { program: Program::Ours, variant: "", batch: 0, threads: None };

const fn by(program: Program) -> Column {
    Column { program, ..USUAL }
}

const fn torch(variant: &'static str) -> Column {
    Column { program: Program::Torch, variant, ..USUAL }
}

/// The variants of PyTorch beside the usual one.
pub(super) const FUSED: &str = "fused";
pub(super) const COMPILED: &str = "compiled";

/// All rows in the order of the table.
pub(super) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = OPERATIONS.iter().map(operation).collect();
    rows.extend(STEPS.iter().map(step));
    rows.push(plain(&STEPS[0]));
    rows.extend([&STEPS[0], &STEPS[2]].map(batches));
    rows.extend(STEPS.iter().map(threads));
    rows
}

fn operation(&(work, title, target): &(&'static str, &str, Option<Target>)) -> Row {
    let mut columns = vec![by(Program::Ours), torch("")];
    let mut best = None;
    if work == "adamw_3m" {
        columns.push(torch(FUSED));
        best = self::target(1.0, 0.8);
    }
    columns.extend([by(Program::CandleNn), by(Program::Burn)]);
    let (name, title) = (work.to_owned(), title.to_owned());
    Row { name, title, work, kind: Kind::Programs, columns, torch: target, best }
}

fn step(step: &Step) -> Row {
    let columns = vec![
        by(Program::Ours),
        torch(""),
        torch(FUSED),
        torch(COMPILED),
        by(Program::CandleNn),
        by(Program::Burn),
    ];
    let columns = columns.into_iter().map(|column| Column { batch: step.batch, ..column });
    Row {
        name: step.work.to_owned(),
        title: step.title.to_owned(),
        work: step.work,
        kind: Kind::Programs,
        columns: columns.collect(),
        torch: step.torch,
        best: step.best,
    }
}

/// The step of a user who sets nothing.
fn plain(step: &Step) -> Row {
    let columns = [by(Program::OursPlain), torch("")];
    Row {
        name: format!("plain/{}", step.work),
        title: "the same MLP in a program that sets nothing".to_owned(),
        work: step.work,
        kind: Kind::Programs,
        columns: columns.map(|column| Column { batch: step.batch, ..column }).to_vec(),
        torch: target(1.0, 0.7),
        best: None,
    }
}

fn batches(step: &Step) -> Row {
    let columns = BATCHES
        .iter()
        .flat_map(|&batch| [by(Program::Ours), torch("")].map(|column| Column { batch, ..column }));
    Row {
        name: format!("batch/{}", step.work),
        title: short(step),
        work: step.work,
        kind: Kind::Batches,
        columns: columns.collect(),
        torch: None,
        best: None,
    }
}

fn threads(step: &Step) -> Row {
    let columns = [1, 2].into_iter().flat_map(|threads| {
        let threads = Some(threads);
        let batch = step.batch;
        [by(Program::Ours), torch("")].map(|column| Column { threads, batch, ..column })
    });
    Row {
        name: format!("threads/{}", step.work),
        title: step.title.to_owned(),
        work: step.work,
        kind: Kind::Threads,
        columns: columns.collect(),
        torch: None,
        best: None,
    }
}

/// The title without the size of the batch.
fn short(step: &Step) -> String {
    step.title.split(", batch").next().unwrap_or(step.title).to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Program, rows};

    #[test]
    fn names_are_unique_and_every_row_has_us_and_pytorch() {
        let rows = rows();
        let names: BTreeSet<_> = rows.iter().map(|row| &row.name).collect();
        assert_eq!(names.len(), rows.len());
        for row in &rows {
            let columns: BTreeSet<_> =
                row.columns.iter().map(|column| column.name(row.kind)).collect();
            assert_eq!(columns.len(), row.columns.len(), "{}", row.name);
            let has = |programs: &[Program]| {
                row.columns.iter().any(|column| programs.contains(&column.program))
            };
            assert!(has(&[Program::Ours, Program::OursPlain]), "{}", row.name);
            assert!(has(&[Program::Torch]), "{}", row.name);
        }
    }

    #[test]
    fn an_aim_is_below_its_bound() {
        let targets = rows().into_iter().flat_map(|row| [row.torch, row.best]).flatten();
        assert!(targets.chain(super::MEMORY).all(|target| target.aim < target.at_most));
    }

    #[test]
    fn columns_are_named_by_what_sets_them_apart() {
        let names = |row: &str| -> Vec<String> {
            let rows = rows();
            let row = rows.iter().find(|it| it.name == row).unwrap();
            row.columns.iter().map(|column| column.name(row.kind)).collect()
        };
        let programs = ["ours", "torch", "torch+fused", "torch+compiled", "candle-nn", "burn"];
        assert_eq!(names("mlp"), programs);
        assert_eq!(names("batch/mlp")[..3], ["ours/32", "torch/32", "ours/64"]);
        assert_eq!(names("threads/conv_ae"), ["ours@1", "torch@1", "ours@2", "torch@2"]);
    }
}
