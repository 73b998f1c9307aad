//! Do the residual networks have the parameters and products that are said of them?
//!
//! Each arm is one network. It is built without memory and counted: at the size of the data that it is for, against the
//! numbers of the spec, and at random sizes of images against a count by hand; a step is one size.

mod by_hand;

use std::ops::{ControlFlow, Range};

use candle_core::DType;
use serde::{Deserialize, Serialize};
use taper_bottleneck::{
    CifarResNetConfig, Counted, ResNetBlock, ResNetConfig, StrideOn, cifar_resnet, meta, resnet,
    summary,
};
use taper_core::{Snapshot, Stateful, Stream};
use taper_lab::{Arm, BoxError, Context, DataSource, Experiment, Record, SpecText};

pub(crate) struct ResnetCounts;

/// The random sizes of images, in rows and columns.
const SIZES: Range<u64> = 32..300;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    network: Network,
    stride_on: StrideOn,
    /// Rows and columns of an image.
    size: usize,
    expected_parameters: u64,
    expected_macs: u64,
    /// How many other sizes are tried.
    random_sizes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Network {
    Resnet18,
    Resnet34,
    Resnet50,
    Resnet101,
    Resnet152,
    Cifar20,
    Cifar32,
    Cifar44,
    Cifar56,
    Cifar110,
}

impl Network {
    /// n of a network with 6 n + 2 layers for CIFAR.
    fn cifar_blocks(self) -> Option<u64> {
        match self {
            Self::Cifar20 => Some(3),
            Self::Cifar32 => Some(5),
            Self::Cifar44 => Some(7),
            Self::Cifar56 => Some(9),
            Self::Cifar110 => Some(18),
            _ => None,
        }
    }

    /// The blocks of each stage in the paper's table 1, and whether they are bottlenecks.
    fn stages(self) -> ([u64; 4], bool) {
        match self {
            Self::Resnet34 => ([3, 4, 6, 3], false),
            Self::Resnet50 => ([3, 4, 6, 3], true),
            Self::Resnet101 => ([3, 4, 23, 3], true),
            Self::Resnet152 => ([3, 8, 36, 3], true),
            _ => ([2; 4], false),
        }
    }
}

impl Network {
    /// The network of taper-bottleneck, without memory.
    fn build(self, stride_on: StrideOn) -> taper_core::Result<Box<dyn Counted>> {
        let cifar = |config| -> taper_core::Result<Box<dyn Counted>> {
            Ok(Box::new(cifar_resnet(config, meta(DType::F32))?))
        };
        let mut config = match self {
            Self::Cifar20 => return cifar(CifarResNetConfig::resnet20()),
            Self::Cifar32 => return cifar(CifarResNetConfig::resnet32()),
            Self::Cifar44 => return cifar(CifarResNetConfig::resnet44()),
            Self::Cifar56 => return cifar(CifarResNetConfig::resnet56()),
            Self::Cifar110 => return cifar(CifarResNetConfig::resnet110()),
            Self::Resnet18 => ResNetConfig::resnet18(),
            Self::Resnet34 => ResNetConfig::resnet34(),
            Self::Resnet50 => ResNetConfig::resnet50(),
            Self::Resnet101 => ResNetConfig::resnet101(),
            Self::Resnet152 => ResNetConfig::resnet152(),
        };
        if let ResNetBlock::Bottleneck { stride_on: of_config, .. } = &mut config.block {
            *of_config = stride_on;
        }
        Ok(Box::new(resnet(config, meta(DType::F32))?))
    }
}

impl Experiment for ResnetCounts {
    type Settings = Settings;
    const SPEC: SpecText =
        SpecText { file: "resnet_counts/spec.toml", text: include_str!("spec.toml") };

    fn data(_: &Settings) -> Result<Vec<DataSource>, BoxError> {
        Ok(Vec::new())
    }

    fn arm(settings: Settings, context: &Context) -> Result<Box<dyn Arm>, BoxError> {
        let network = settings.network.build(settings.stride_on)?;
        let sizes = taper_core::stream(context.seed, "sizes");
        Ok(Box::new(Counting { network, settings, sizes, off_by_hand: 0 }))
    }
}

/// One network, built without memory.
struct Counting {
    network: Box<dyn Counted>,
    settings: Settings,
    sizes: Stream,
    /// The largest difference to the count by hand so far.
    off_by_hand: u64,
}

impl Counting {
    /// Parameters and MACs for one image of `size` rows and columns.
    fn cost(&self, size: usize) -> Result<[u64; 2], BoxError> {
        let cost = summary(&*self.network, &[1, 3, size, size])?.total.cost;
        Ok([cost.parameters, cost.macs])
    }
}

impl Arm for Counting {
    fn steps(&self) -> u64 {
        self.settings.random_sizes
    }

    fn step(&mut self, _: &mut Record) -> Result<ControlFlow<()>, BoxError> {
        let size = SIZES.start + self.sizes.below(SIZES.end - SIZES.start);
        let version_1 = self.settings.stride_on == StrideOn::Pointwise;
        let by_hand = by_hand::cost(self.settings.network, version_1, size);
        self.off_by_hand = self.off_by_hand.max(off(self.cost(size as usize)?, by_hand));
        Ok(ControlFlow::Continue(()))
    }

    fn measure(&mut self, record: &mut Record) -> Result<(), BoxError> {
        let &Settings { size, expected_parameters, expected_macs, .. } = &self.settings;
        let cost = self.cost(size)?;
        let off = off(cost, [expected_parameters, expected_macs]);
        record.measure("parameters", cost[0] as f64);
        record.measure("macs", cost[1] as f64);
        record.measure("off", off.max(self.off_by_hand) as f64);
        Ok(())
    }
}

/// The larger difference of two costs.
fn off(found: [u64; 2], expected: [u64; 2]) -> u64 {
    found[0].abs_diff(expected[0]).max(found[1].abs_diff(expected[1]))
}

impl Stateful for Counting {
    fn save(&self, snapshot: &mut Snapshot) -> taper_core::Result<()> {
        snapshot.put_u64("off_by_hand", self.off_by_hand);
        snapshot.put("sizes", &self.sizes)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> taper_core::Result<()> {
        self.off_by_hand = snapshot.get_u64("off_by_hand")?;
        snapshot.get("sizes", &mut self.sizes)
    }
}
