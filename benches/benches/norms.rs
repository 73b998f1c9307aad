//! A training step of each norm, forward and backward, beside candle-nn's.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::ModuleT;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use taper_core::{Parameters, stream};
use taper_norm::{BatchNormConfig, batch_norm};

const CPU: Device = Device::Cpu;

/// Normalises in training and goes back through Σ g · y, for a fixed g.
fn step(norm: &impl ModuleT, x: &Tensor, g: &Tensor) -> Result<()> {
    (norm.forward_t(black_box(x), true)? * g)?.sum_all()?.backward().map(drop)
}

fn bench_batch_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_norm");
    for (samples, features) in [(60, 100), (256, 512)] {
        let noise = |name| {
            let shape = (samples, features);
            stream(0, name).normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
        };
        let (x, g) = (Var::from_tensor(&noise("x")).expect("a variable"), noise("g"));
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let ours =
            batch_norm(features, BatchNormConfig::default(), vb.pp("ours")).expect("a layer");
        let candle_nn = candle_nn::batch_norm(features, 1e-5, vb.pp("candle-nn")).expect("a layer");
        let size = format!("{samples}x{features}");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            bencher.iter(|| step(&ours, &x, &g).expect("a step"));
        });
        group.bench_function(BenchmarkId::new("candle-nn", &size), |bencher| {
            bencher.iter(|| step(&candle_nn, &x, &g).expect("a step"));
        });
    }
    group.finish();
}

criterion_group!(norms, bench_batch_norm);
criterion_main!(norms);
