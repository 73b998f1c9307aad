//! The networks: their counts and names are torchvision's, and small versions go into the contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use sha2::{Digest, Sha256};
use taper_bottleneck::{
    CifarResNetConfig, Counted, ResNetBlock, ResNetConfig, ResNetStem, Shortcut, StrideOn,
    cifar_resnet, resnet, summary,
};
use taper_core::Result;
use taper_core::testing::goldens;
use taper_norm::NormConfig;

use crate::contract::{Case, case};

/// The names and shapes of what a network asks for, which gets no memory.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<BTreeMap<String, Vec<usize>>>>);

impl SimpleBackend for Asked {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.lock().unwrap().insert(name.to_owned(), shape.dims().to_vec());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("{name}: of no shape")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

type Network = Box<dyn Counted>;

/// torchvision's network of this name.
fn network(name: &str, vb: VarBuilder) -> Result<Option<Network>> {
    let config = match name {
        "resnet18" => ResNetConfig::resnet18(),
        "resnet34" => ResNetConfig::resnet34(),
        "resnet50" => ResNetConfig::resnet50(),
        "resnet101" => ResNetConfig::resnet101(),
        "resnet152" => ResNetConfig::resnet152(),
        "resnext50_32x4d" => ResNetConfig::resnext50_32x4d(),
        "wide_resnet50_2" => ResNetConfig::wide_resnet50_2(),
        _ => return Ok(None),
    };
    Ok(Some(Box::new(resnet(config, vb)?)))
}

#[test]
fn counts_and_names_are_those_of_torchvision() -> Result<()> {
    for case in goldens(include_str!("../golden/counts.json"))? {
        let name = case.text("name")?;
        let asked = Asked::default();
        let vb = VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu);
        let Some(network) = network(name, vb)? else {
            continue;
        };
        let cost = summary(&*network, &[1, 3, 224, 224])?.total.cost;
        assert_eq!(cost.parameters, case.u64("parameters")?, "{name}");
        assert_eq!(cost.macs, case.u64("macs")?, "{name}");
        let entries = asked.0.lock().unwrap();
        assert_eq!(entries.len() as u64, case.u64("entries")?, "{name}");
        let mut lines: Vec<_> =
            entries.iter().map(|(name, shape)| format!("{name} {shape:?}")).collect();
        lines.sort();
        let digest = Sha256::digest(lines.join("\n"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, case.text("sha256")?, "{name}: {lines:#?}");
    }
    Ok(())
}

/// Small versions of the networks.
pub(crate) fn cases() -> Vec<Case> {
    let tiny = ResNetConfig {
        in_channels: 2,
        num_classes: 3,
        depths: [1; 4],
        width: 4,
        ..Default::default()
    };
    let of_resnet =
        |name, input: [usize; 4], config| case(name, &input, move |vb| resnet(config, vb));
    let small = CifarResNetConfig {
        in_channels: 2,
        num_classes: 3,
        blocks: 1,
        width: 4,
        ..Default::default()
    };
    let of_cifar = |name, config| case(name, &[3, 2, 9, 7], move |vb| cifar_resnet(config, vb));
    let bottleneck = |stride_on| ResNetBlock::Bottleneck { reduction: 4, groups: 2, stride_on };
    vec![
        of_resnet("ResNet of basic blocks", [3, 2, 40, 33], tiny),
        of_resnet("ResNet of bottlenecks", [3, 2, 16, 9], {
            let block = bottleneck(StrideOn::Spatial);
            ResNetConfig { block, stem: ResNetStem::Small, ..tiny }
        }),
        of_resnet("ResNet-D of bottlenecks, version 1, by group norm", [2, 2, 40, 33], {
            let block = bottleneck(StrideOn::Pointwise);
            let (shortcut, norm) = (Shortcut::PooledProjection, NormConfig::group(2));
            ResNetConfig { block, shortcut, norm, ..tiny }
        }),
        of_cifar("ResNet for CIFAR", small),
        of_cifar("ResNet for CIFAR that projects", {
            CifarResNetConfig { shortcut: Shortcut::Projection, ..small }
        }),
        of_cifar("plain network", CifarResNetConfig { blocks: 2, ..small }.plain()),
    ]
}
