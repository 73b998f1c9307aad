//! A training step of each norm, forward and backward, beside candle-nn's where its layer has a gradient.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::{DType, Device, Module, Result, Shape, Tensor, Var};
use candle_nn::ModuleT;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use taper_core::{Activation, Parameters, stream};
use taper_kernels::Update;
use taper_kernels::norm::{Gradients, GroupNorm, Input, RowNorm};
use taper_norm::{BatchNormConfig, LayerNormConfig, batch_norm, layer_norm};

const CPU: Device = Device::Cpu;

fn noise(name: &str, shape: impl Into<Shape>) -> Tensor {
    stream(0, name).normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
}

/// Goes forward, and back through Σ g · y for a fixed g.
fn step(y: impl FnOnce() -> Result<Tensor>, g: &Tensor) {
    let step = || (y()? * g)?.sum_all()?.backward().map(drop);
    step().expect("a step");
}

fn bench_batch_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_norm");
    for shape in [&[60, 100][..], &[128, 512], &[256, 512], &[64, 64, 16, 16]] {
        let x = Var::from_tensor(&noise("x", shape)).expect("a variable");
        let residual = Var::from_tensor(&noise("residual", shape)).expect("a variable");
        let g = noise("g", shape);
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let plain = BatchNormConfig::default();
        let relu = BatchNormConfig { activation: Activation::Relu, ..plain };
        let ours = batch_norm(shape[1], plain, vb.pp("plain")).expect("a layer");
        let relu = batch_norm(shape[1], relu, vb.pp("relu")).expect("a layer");
        let candle_nn = candle_nn::batch_norm(shape[1], 1e-5, vb.pp("candle-nn")).expect("a layer");
        let size = shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            bencher.iter(|| step(|| ours.forward_t(black_box(&x), true), &g));
        });
        group.bench_function(BenchmarkId::new("taper-relu", &size), |bencher| {
            bencher.iter(|| step(|| relu.forward_t(black_box(&x), true), &g));
        });
        group.bench_function(BenchmarkId::new("taper-residual-relu", &size), |bencher| {
            let forward = || relu.forward_residual_t(black_box(&x), &residual, true);
            bencher.iter(|| step(forward, &g));
        });
        group.bench_function(BenchmarkId::new("candle-nn", &size), |bencher| {
            bencher.iter(|| step(|| candle_nn.forward_t(black_box(&x), true), &g));
        });
    }
    group.finish();
}

fn bench_layer_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("layer_norm");
    for (samples, features) in [(128, 512), (4096, 512)] {
        let x = Var::from_tensor(&noise("x", (samples, features))).expect("a variable");
        let g = noise("g", (samples, features));
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let norm = layer_norm(features, LayerNormConfig::default(), vb).expect("a layer");
        let size = format!("{samples}x{features}");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            bencher.iter(|| step(|| norm.forward(black_box(&x)), &g));
        });
    }
    group.finish();
}

/// The kernels that no layer has yet.
fn bench_kernels(criterion: &mut Criterion) {
    let (samples, channels, places) = (64, 64, 256);
    let length = samples * channels * places;
    let x: Vec<f32> = (0..length).map(|at| (at % 101) as f32 / 50.0 - 1.0).collect();
    let weight = vec![1.0; 512];
    let (mut y, mut of_x) = (vec![0.0; length], vec![0.0; length]);
    let (mut of_weight, mut of_bias) = (vec![0.0; 512], vec![0.0; 512]);

    for (name, groups) in [("group_norm", 8), ("instance_norm", channels)] {
        let sizes = GroupNorm { samples, channels, places, groups, rectify: false };
        let weight = Some(&weight[..channels]);
        criterion.bench_function(&format!("{name}/kernel/64x64x16x16"), |bencher| {
            bencher.iter(|| {
                let input = Input { x: black_box(&x), weight, bias: weight, residual: None };
                let found = sizes.forward(input, 1e-5, &mut y);
                let gradients = Gradients {
                    x: Some((&mut of_x, Update::Replace)),
                    weight: Some((&mut of_weight[..channels], Update::Replace)),
                    bias: Some((&mut of_bias[..channels], Update::Replace)),
                    residual: None,
                };
                sizes.backward(&x, weight, &y, &x, &found, gradients);
            });
        });
    }
    let sizes = RowNorm { rows: length / 512, columns: 512, centred: false, rectify: false };
    criterion.bench_function("rms_norm/kernel/2048x512", |bencher| {
        bencher.iter(|| {
            let weight = Some(&weight[..]);
            let input = Input { x: black_box(&x), weight, bias: None, residual: None };
            let found = sizes.forward(input, 1e-5, &mut y);
            let gradients = Gradients {
                x: Some((&mut of_x, Update::Replace)),
                weight: Some((&mut of_weight, Update::Replace)),
                ..Default::default()
            };
            sizes.backward(&x, weight, &y, &x, &found, gradients);
        });
    });
}

criterion_group!(norms, bench_batch_norm, bench_layer_norm, bench_kernels);
criterion_main!(norms);
