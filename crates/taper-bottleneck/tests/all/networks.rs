//! The networks: their counts and names are torchvision's, and small versions go into the contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, ModuleT, VarBuilder};
use sha2::{Digest, Sha256};
use taper_bottleneck::{
    CifarResNetConfig, ConvNext, ConvNextConfig, Counted, Counter, Flow, LeNet5Config, LeNetPool,
    MobileNetV2, MobileNetV2Config, ResNetBlock, ResNetConfig, ResNetStem, Shortcut, SqueezeNet,
    SqueezeNetConfig, StrideOn, Vgg, VggConfig, VggHead, cifar_resnet, convnext, lenet5,
    mobilenet_v2, resnet, squeezenet, summary, vgg,
};
use taper_core::testing::goldens;
use taper_core::{Activation, Error, Result, Stream, stream};
use taper_norm::NormConfig;

use crate::contract::{Case, case};

/// The names and shapes of what a network asks for, which gets no memory, and how it is to begin.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Entries>>);

type Entries = BTreeMap<String, (Vec<usize>, Init)>;

impl SimpleBackend for Asked {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.lock().unwrap().insert(name.to_owned(), (shape.dims().to_vec(), init));
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
fn network(name: &str, vb: VarBuilder) -> Result<Network> {
    let of_resnet = |config| -> Result<Network> { Ok(Box::new(resnet(config, vb.clone())?)) };
    let of_vgg = |config| -> Result<Network> { Ok(Box::new(vgg(config, vb.clone())?)) };
    let of_convnext = |config| -> Result<Network> { Ok(Box::new(convnext(config, vb.clone())?)) };
    let of_mobilenet = |width_multiplier| -> Result<Network> {
        let config = MobileNetV2Config { width_multiplier, ..Default::default() };
        Ok(Box::new(mobilenet_v2(config, vb.clone())?))
    };
    match name {
        "resnet18" => of_resnet(ResNetConfig::resnet18()),
        "resnet34" => of_resnet(ResNetConfig::resnet34()),
        "resnet50" => of_resnet(ResNetConfig::resnet50()),
        "resnet101" => of_resnet(ResNetConfig::resnet101()),
        "resnet152" => of_resnet(ResNetConfig::resnet152()),
        "resnext50_32x4d" => of_resnet(ResNetConfig::resnext50_32x4d()),
        "wide_resnet50_2" => of_resnet(ResNetConfig::wide_resnet50_2()),
        "vgg11" => of_vgg(VggConfig::vgg11()),
        "vgg13" => of_vgg(VggConfig::vgg13()),
        "vgg16" => of_vgg(VggConfig::vgg16()),
        "vgg19" => of_vgg(VggConfig::vgg19()),
        "vgg11_bn" => of_vgg(VggConfig::vgg11().batch_norm()),
        "vgg13_bn" => of_vgg(VggConfig::vgg13().batch_norm()),
        "vgg16_bn" => of_vgg(VggConfig::vgg16().batch_norm()),
        "vgg19_bn" => of_vgg(VggConfig::vgg19().batch_norm()),
        "squeezenet1_1" => Ok(Box::new(squeezenet(SqueezeNetConfig::default(), vb.clone())?)),
        "convnext_tiny" => of_convnext(ConvNextConfig::tiny()),
        "convnext_small" => of_convnext(ConvNextConfig::small()),
        "convnext_base" => of_convnext(ConvNextConfig::base()),
        "convnext_large" => of_convnext(ConvNextConfig::large()),
        "mobilenet_v2" => of_mobilenet(1.0),
        "mobilenet_v2 0.35" => of_mobilenet(0.35),
        "mobilenet_v2 0.5" => of_mobilenet(0.5),
        "mobilenet_v2 0.75" => of_mobilenet(0.75),
        "mobilenet_v2 1.4" => of_mobilenet(1.4),
        _ => Err(Error::argument("network", "name", "one that is here", name)),
    }
}

#[test]
fn counts_and_names_are_those_of_torchvision() -> Result<()> {
    for case in goldens(include_str!("../golden/counts.json"))? {
        let name = case.text("name")?;
        let asked = Asked::default();
        let vb = VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu);
        let network = network(name, vb)?;
        let cost = summary(&*network, &[1, 3, 224, 224])?.total.cost;
        assert_eq!(cost.parameters, case.u64("parameters")?, "{name}");
        assert_eq!(cost.macs, case.u64("macs")?, "{name}");
        let entries = asked.0.lock().unwrap();
        assert_eq!(entries.len() as u64, case.u64("entries")?, "{name}");
        let mut lines: Vec<_> =
            entries.iter().map(|(name, (shape, _))| format!("{name} {shape:?}")).collect();
        lines.sort();
        let digest = Sha256::digest(lines.join("\n"));
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, case.text("sha256")?, "{name}: {lines:#?}");
    }
    Ok(())
}

#[test]
fn initial_values_are_those_of_torchvision() -> Result<()> {
    // Normal of this standard deviation, uniform up to this, or this: by torchvision's constructors.
    let (normal, uniform, constant) = ("normal", "uniform", "constant");
    let of_linear = 1.0 / 512f64.sqrt();
    for (name, entries) in [
        (
            "resnet18",
            vec![
                ("conv1.weight", normal, (2.0 / (64.0 * 49.0f64)).sqrt()),
                ("layer2.0.conv1.weight", normal, (2.0 / (128.0 * 9.0f64)).sqrt()),
                ("layer2.0.downsample.0.weight", normal, (2.0 / 128f64).sqrt()),
                ("layer2.0.bn2.weight", constant, 1.0),
                ("fc.weight", uniform, of_linear),
                ("fc.bias", uniform, of_linear),
            ],
        ),
        (
            "resnext50_32x4d",
            vec![("layer1.0.conv2.weight", normal, (2.0 / (128.0 * 9.0f64)).sqrt())],
        ),
        (
            "vgg11_bn",
            vec![
                ("features.0.weight", normal, (2.0 / (64.0 * 9.0f64)).sqrt()),
                ("features.0.bias", constant, 0.0),
                ("features.1.weight", constant, 1.0),
                ("classifier.0.weight", normal, 0.01),
                ("classifier.6.weight", normal, 0.01),
                ("classifier.6.bias", constant, 0.0),
            ],
        ),
        (
            "squeezenet1_1",
            vec![
                ("features.0.weight", uniform, (6.0 / 27f64).sqrt()),
                ("features.3.expand3x3.weight", uniform, (6.0 / (16.0 * 9.0f64)).sqrt()),
                ("features.3.expand3x3.bias", constant, 0.0),
                ("classifier.1.weight", normal, 0.01),
                ("classifier.1.bias", constant, 0.0),
            ],
        ),
        (
            "mobilenet_v2",
            vec![
                ("features.2.conv.1.0.weight", normal, (2.0 / (96.0 * 9.0f64)).sqrt()),
                ("features.18.0.weight", normal, (2.0 / 1280f64).sqrt()),
                ("classifier.1.weight", normal, 0.01),
                ("classifier.1.bias", constant, 0.0),
            ],
        ),
        (
            "convnext_tiny",
            vec![
                ("features.0.0.bias", constant, 0.0),
                ("features.1.0.layer_scale", constant, 1e-6),
                ("features.2.1.bias", constant, 0.0),
                ("classifier.2.bias", constant, 0.0),
            ],
        ),
    ] {
        let asked = Asked::default();
        let vb = VarBuilder::from_backend(Box::new(asked.clone()), DType::F32, Device::Cpu);
        network(name, vb)?;
        for (entry, law, expected) in entries {
            let found = match asked.0.lock().unwrap()[entry].1 {
                Init::Randn { mean: 0.0, stdev } => (normal, stdev),
                Init::Uniform { lo, up } if lo == -up => (uniform, up),
                Init::Const(value) => (constant, value),
                other => panic!("{name}, {entry}: {other:?}"),
            };
            assert_eq!(found.0, law, "{name}, {entry}");
            assert!((found.1 - expected).abs() <= 1e-12, "{name}, {entry}: {found:?}");
        }
    }
    Ok(())
}

/// A network whose dropout draws nothing: it gets a probability of 0.
struct Deterministic<T>(T);

/// What has a stream in its call.
trait Streamed: Counted {
    fn run(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor>;
}

impl Streamed for ConvNext {
    fn run(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.forward_t(x, train, stream)
    }
}

impl Streamed for MobileNetV2 {
    fn run(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.forward_t(x, train, stream)
    }
}

impl Streamed for SqueezeNet {
    fn run(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.forward_t(x, train, stream)
    }
}

impl Streamed for Vgg {
    fn run(&self, x: &Tensor, train: bool, stream: &mut Stream) -> Result<Tensor> {
        self.forward_t(x, train, stream)
    }
}

impl<T: Streamed> ModuleT for Deterministic<T> {
    fn forward_t(&self, x: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        Ok(self.0.run(x, train, &mut stream(0, "dropout"))?)
    }
}

impl<T: Streamed> Counted for Deterministic<T> {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn count(&self, x: &Flow, counter: &mut Counter) -> Result<Flow> {
        self.0.count(x, counter)
    }
}

/// Small versions of the networks.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = residual();
    cases.extend(convolutional());
    cases.extend(of_relatives());
    cases
}

fn of_relatives() -> Vec<Case> {
    let squeezed = SqueezeNetConfig {
        in_channels: 2,
        num_classes: 3,
        width: 8,
        small_images: true,
        dropout: 0.0,
        // Smooth: where all squeezed channels are 0, a rectifier behind them stands at its kink, as biases begin as 0.
        activation: Activation::Tanh,
    };
    // Not by the batch: a shift of the few channels between two blocks is a shift of all that the 1x1 convolution behind them
    // makes, which the next norm takes away.
    let inverted = MobileNetV2Config {
        in_channels: 2,
        num_classes: 3,
        width_multiplier: 0.1,
        round_to: 2,
        small_images: true,
        dropout: 0.0,
        norm: NormConfig::group(1),
        // Smooth: some of the many activations of 53 layers stand next to a kink of the rectifier.
        activation: Activation::Tanh,
    };
    let next = ConvNextConfig {
        in_channels: 2,
        num_classes: 3,
        depths: [1, 1, 2, 1],
        width: 4,
        patch_size: 1,
        layer_scale: Some(0.5),
        drop_path: 0.0,
        ..Default::default()
    };
    let of_convnext = |name, config| {
        case(name, &[3, 2, 9, 8], move |vb| Ok(Deterministic(convnext(config, vb)?)))
    };
    vec![
        case("SqueezeNet", &[3, 2, 10, 17], move |vb| Ok(Deterministic(squeezenet(squeezed, vb)?))),
        case("MobileNetV2", &[3, 2, 15, 17], move |vb| {
            Ok(Deterministic(mobilenet_v2(inverted, vb)?))
        }),
        of_convnext("ConvNeXt", next),
        of_convnext("ConvNeXt by group norm, without layer scale", {
            let norm = NormConfig::group(2);
            ConvNextConfig { norm, layer_scale: None, activation: Activation::Silu, ..next }
        }),
    ]
}

fn convolutional() -> Vec<Case> {
    let digits = LeNet5Config { image: 8.into(), kernel_size: 3, padding: 1, ..Default::default() };
    let small = VggConfig {
        in_channels: 2,
        num_classes: 3,
        depths: [1, 2, 1, 0, 0],
        width: 4,
        dropout: 0.0,
        ..Default::default()
    };
    let of_lenet =
        |name, input: [usize; 4], config| case(name, &input, move |vb| lenet5(config, vb));
    let of_vgg =
        |name, config| case(name, &[3, 2, 8, 11], move |vb| Ok(Deterministic(vgg(config, vb)?)));
    vec![
        of_lenet("LeNet-5", [3, 1, 8, 8], digits),
        of_lenet("LeNet-5 that rectifies and pools by maxima", [3, 2, 12, 15], {
            let (pool, activation) = (LeNetPool::Max, Activation::Relu);
            LeNet5Config {
                in_channels: 2,
                image: (12, 15).into(),
                pool,
                activation,
                ..Default::default()
            }
        }),
        of_vgg("VGG", VggConfig { head: VggHead::Large { features: 6 }, ..small }),
        // Not of batches: those leave the biases in front of them without a gradient.
        of_vgg("VGG by group norm with a small head", {
            VggConfig { head: VggHead::Small, norm: NormConfig::group(2), ..small }
        }),
    ]
}

fn residual() -> Vec<Case> {
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
