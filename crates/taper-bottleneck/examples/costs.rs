//! The tables of the catalogue: what blocks cost at equal width and at equal budget, and networks as they are.
//!
//!     cargo run -p taper-bottleneck --example costs
#![allow(clippy::print_stdout)]

use candle_core::DType;
use taper_bottleneck::{
    AdapterConfig, BasicBlockConfig, BottleneckConfig, Budget, ConvNextBlockConfig, ConvNormConfig,
    Counted, MixerBlockConfig, MlpBottleneckConfig, Result, Summary, adapter, basic_block,
    bottleneck, conv_norm, convnext_block, meta, mixer_block, mlp_bottleneck, summary, width_for,
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
    let budget = summary_of("BasicBlock")?.total.cost.macs;
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
    Ok(())
}

fn summary_of(name: &str) -> Result<Summary> {
    let found = blocks().into_iter().find(|block| block.name == name);
    found.map_or_else(
        || Err(taper_bottleneck::Error::argument("costs", "name", "a block", name)),
        |block| block.summary(WIDTH),
    )
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
