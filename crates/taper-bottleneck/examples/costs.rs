//! The tables of the catalogue: what blocks cost at equal width and at equal budget, and networks as they are.
//!
//!     cargo run -p taper-bottleneck --example costs
#![allow(clippy::print_stdout)]

use candle_core::DType;
use taper_bottleneck::{
    AdapterConfig, BasicBlockConfig, BottleneckConfig, Budget, CifarResNetConfig,
    ConvNextBlockConfig, ConvNextConfig, ConvNormConfig, Counted, FireConfig, InceptionConfig,
    InceptionWidths, InvertedResidualConfig, MixerBlockConfig, MlpBottleneckConfig, MlpConvConfig,
    MobileNetV2Config, PreActivationBlockConfig, PreActivationBottleneckConfig, ResNetConfig,
    Result, SqueezeExciteConfig, SqueezeNetConfig, Summary, VggConfig, adapter, basic_block,
    bottleneck, cifar_resnet, conv_norm, convnext, convnext_block, fire, inception,
    inverted_residual, meta, mixer_block, mlp_bottleneck, mlp_conv, mobilenet_v2,
    pre_activation_block, pre_activation_bottleneck, resnet, squeezenet, summary, vgg, width_for,
};

/// The channels that come in and go out, and the rows and columns, of blocks at equal width.
const WIDTH: usize = 64;
const SIZE: usize = 16;

/// A block from c to c channels.
struct Block {
    name: &'static str,
    /// What its width has to be a multiple of.
    multiple_of: usize,
    /// Whether its input is points (1, 256, c) rather than an image (1, c, 16, 16).
    points: bool,
    make: fn(usize) -> Result<Box<dyn Counted>>,
}

impl Block {
    fn summary(&self, width: usize) -> Result<Summary> {
        let input = match self.points {
            true => vec![1, SIZE * SIZE, width],
            false => vec![1, width, SIZE, SIZE],
        };
        summary(&*(self.make)(width)?, &input)
    }
}

fn boxed<B: Counted + 'static>(block: Result<B>) -> Result<Box<dyn Counted>> {
    Ok(Box::new(block?))
}

macro_rules! block {
    ($name:literal, $multiple_of:literal, $points:literal, $width:ident => $made:expr) => {
        Block {
            name: $name,
            multiple_of: $multiple_of,
            points: $points,
            make: |$width| boxed($made),
        }
    };
}

fn blocks() -> Vec<Block> {
    vec![
        block!("3x3 convolution and norm", 1, false, c => {
            let vb = meta(DType::F32);
            conv_norm(c, c, 3, ConvNormConfig::default(), vb.pp("conv"), vb.pp("bn"))
        }),
        block!("1x1 convolution and norm", 1, false, c => {
            let vb = meta(DType::F32);
            conv_norm(c, c, 1, ConvNormConfig::default(), vb.pp("conv"), vb.pp("bn"))
        }),
        block!("BasicBlock", 1, false, c => {
            basic_block(c, c, BasicBlockConfig::default(), meta(DType::F32))
        }),
        block!("Bottleneck", 4, false, c => {
            bottleneck(c, c, BottleneckConfig::default(), meta(DType::F32))
        }),
        block!("Bottleneck, wide (reduction 2)", 2, false, c => {
            let config = BottleneckConfig { reduction: 2, ..Default::default() };
            bottleneck(c, c, config, meta(DType::F32))
        }),
        block!("Bottleneck, ResNeXt (reduction 2, 8 groups)", 16, false, c => {
            let config = BottleneckConfig { reduction: 2, groups: 8, ..Default::default() };
            bottleneck(c, c, config, meta(DType::F32))
        }),
        block!("BasicBlock with SqueezeExcite", 16, false, c => {
            let squeeze_excite = Some(SqueezeExciteConfig::default());
            let config = BasicBlockConfig { squeeze_excite, ..Default::default() };
            basic_block(c, c, config, meta(DType::F32))
        }),
        block!("PreActivationBlock", 1, false, c => {
            pre_activation_block(c, c, PreActivationBlockConfig::default(), meta(DType::F32))
        }),
        block!("PreActivationBottleneck", 4, false, c => {
            let config = PreActivationBottleneckConfig::default();
            pre_activation_bottleneck(c, c, config, meta(DType::F32))
        }),
        block!("InvertedResidual (expansion 6)", 1, false, c => {
            inverted_residual(c, c, InvertedResidualConfig::default(), meta(DType::F32))
        }),
        block!("Fire (c/4, then c/2 and c/2)", 4, false, c => {
            fire(c, c / 4, c / 2, c / 2, FireConfig::default(), meta(DType::F32))
        }),
        block!("Inception (c/4, c/2, c/8, c/8)", 16, false, c => {
            let widths = InceptionWidths {
                one: c / 4,
                three: [c * 3 / 8, c / 2],
                five: [c / 16, c / 8],
                pool: c / 8,
            };
            inception(c, widths, InceptionConfig::default(), meta(DType::F32))
        }),
        block!("MlpConv", 1, false, c => {
            mlp_conv(c, [c; 3], 3, MlpConvConfig::default(), meta(DType::F32))
        }),
        block!("ConvNextBlock", 1, false, c => {
            convnext_block(c, ConvNextBlockConfig::default(), meta(DType::F32))
        }),
        block!("MlpBottleneck", 4, true, c => {
            mlp_bottleneck(c, MlpBottleneckConfig::default(), meta(DType::F32))
        }),
        block!("MlpBottleneck, full width (reduction 1)", 1, true, c => {
            let config = MlpBottleneckConfig { reduction: 1, ..Default::default() };
            mlp_bottleneck(c, config, meta(DType::F32))
        }),
        block!("Adapter", 4, true, c => adapter(c, AdapterConfig::default(), meta(DType::F32))),
        block!("MixerBlock", 2, true, c => {
            mixer_block(SIZE * SIZE, c, MixerBlockConfig::default(), meta(DType::F32))
        }),
    ]
}

fn main() -> Result<()> {
    println!(
        "What blocks cost from {WIDTH} to {WIDTH} channels, for one image of {SIZE}x{SIZE} or {} points:\n",
        SIZE * SIZE
    );
    println!(
        "| block | parameters | MACs | FLOPs | activations | depth | nonlinearities | field |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for block in blocks() {
        println!("| {} | {} |", block.name, numbers(&block.summary(WIDTH)?));
    }
    let budget = basic_block(WIDTH, WIDTH, BasicBlockConfig::default(), meta(DType::F32))?;
    let budget = summary(&budget, &[1, WIDTH, SIZE, SIZE])?.total.cost.macs;
    println!("\nThe widest block of each kind within the MACs of that BasicBlock, {budget}:\n");
    println!(
        "| block | channels | parameters | MACs | FLOPs | activations | depth | nonlinearities | field |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for block in blocks() {
        let cost = |width| Ok(block.summary(width)?.total.cost);
        let width = width_for(Budget::Macs(budget), block.multiple_of, cost)?;
        println!("| {} | {width} | {} |", block.name, numbers(&block.summary(width)?));
    }
    println!(
        "\nThe networks, for one image of 224x224 and 1000 classes, those for CIFAR of 32x32 and 10:\n"
    );
    println!("| network | parameters | MACs | FLOPs | activations | depth | nonlinearities |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (name, size, network) in networks()? {
        let summary = summary(&*network, &[1, 3, size, size])?;
        let numbers = numbers(&summary);
        // All of them see the whole image behind their pooling.
        let (numbers, _) = numbers.rsplit_once(" | ").unwrap_or((&numbers, ""));
        println!("| {name} | {numbers} |");
    }
    Ok(())
}

type Network = (String, usize, Box<dyn Counted>);

fn networks() -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    for (name, config) in [
        ("ResNet-18", ResNetConfig::resnet18()),
        ("ResNet-34", ResNetConfig::resnet34()),
        ("ResNet-50", ResNetConfig::resnet50()),
        ("ResNet-101", ResNetConfig::resnet101()),
        ("ResNet-152", ResNetConfig::resnet152()),
        ("ResNeXt-50 32x4d", ResNetConfig::resnext50_32x4d()),
        ("Wide ResNet-50-2", ResNetConfig::wide_resnet50_2()),
    ] {
        networks.push((name.to_owned(), 224, boxed(resnet(config, meta(DType::F32)))?));
    }
    let vb = || meta(DType::F32);
    let mut add = |name: &str, network| networks.push((name.to_owned(), 224, network));
    add("VGG-11", boxed(vgg(VggConfig::vgg11(), vb()))?);
    add("SqueezeNet 1.1", boxed(squeezenet(SqueezeNetConfig::default(), vb()))?);
    add("MobileNetV2", boxed(mobilenet_v2(MobileNetV2Config::default(), vb()))?);
    add("ConvNeXt-T", boxed(convnext(ConvNextConfig::tiny(), vb()))?);
    for (name, config) in [
        ("ResNet-20", CifarResNetConfig::resnet20()),
        ("ResNet-56", CifarResNetConfig::resnet56()),
        ("ResNet-110", CifarResNetConfig::resnet110()),
    ] {
        networks.push((format!("{name} for CIFAR"), 32, boxed(cifar_resnet(config, vb()))?));
    }
    Ok(networks)
}

fn numbers(summary: &Summary) -> String {
    let total = summary.total;
    let cost = total.cost;
    let field = total.receptive_field.map(|field| field.to_string()).unwrap_or_default();
    format!(
        "{} | {} | {} | {} | {} | {} | {field}",
        cost.parameters, cost.macs, cost.flops, cost.activations, total.depth, cost.nonlinearities
    )
}
