//! A ResNet-18 whose weights go to torchvision, or come from there; `tests/interchange.py` runs both and compares.
//!
//!     cargo run -p taper-bottleneck --example interchange -- write FOLDER
//!     cargo run -p taper-bottleneck --example interchange -- read FOLDER
//!
//! `write` trains one step and writes `taper.safetensors`, the state dict, and `taper-batch.safetensors`, images `x` and the
//! `logits` that they give in evaluation. `read` takes `torch.safetensors` and `torch-batch.safetensors` and compares.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::{ModuleT, loss};
use taper_bottleneck::{ResNet, ResNetConfig, resnet};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{Parameters, stream};

/// What the logits may differ, in parts of the largest.
const TOLERANCE: f32 = 1e-4;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", folder] => write(Path::new(folder)),
        ["read", folder] => read(Path::new(folder)),
        _ => Err("interchange write FOLDER, or interchange read FOLDER".into()),
    }
}

fn network() -> Result<(Parameters, ResNet), Box<dyn Error>> {
    let parameters = Parameters::new(&stream(7, "init"));
    let vb = parameters.builder(DType::F32, &Device::Cpu);
    let network = resnet(ResNetConfig::resnet18(), vb)?;
    Ok((parameters, network))
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (parameters, network) = network()?;
    let x = stream(8, "x").normal(0.0, 1.0, (4, 3, 64, 64), DType::F32, &Device::Cpu)?;
    let labels = Tensor::new(&[1u32, 20, 300, 999], &Device::Cpu)?;
    let config = SgdConfig { learning_rate: 0.05, momentum: 0.9, ..Default::default() };
    let mut optimizer = Sgd::new(parameters.trainable(), config)?;
    optimizer.step(&loss::cross_entropy(&network.forward_t(&x, true)?, &labels)?.backward()?)?;
    let logits = network.forward_t(&x, false)?;
    fs::write(folder.join("taper.safetensors"), parameters.to_safetensors()?)?;
    let batch = HashMap::from([("x", x), ("logits", logits)]);
    safetensors::save(&batch, folder.join("taper-batch.safetensors"))?;
    Ok(())
}

fn read(folder: &Path) -> Result<(), Box<dyn Error>> {
    let (parameters, network) = network()?;
    parameters.load_safetensors(&fs::read(folder.join("torch.safetensors"))?)?;
    let batch = safetensors::load(folder.join("torch-batch.safetensors"), &Device::Cpu)?;
    let entry = |name: &str| batch.get(name).ok_or_else(|| format!("the batch has no {name}"));
    let (x, expected) = (entry("x")?, entry("logits")?);
    let off = (network.forward_t(x, false)? - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
    let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
    println!(
        "torchvision's weights in Taper: the logits are off by {:.1e} of the largest",
        off / largest
    );
    match off <= TOLERANCE * largest {
        true => Ok(()),
        false => Err("these are other logits".into()),
    }
}
