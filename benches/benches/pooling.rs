//! A training step of pooling and upsampling, forward and backward, beside candle's own where it has one.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::func;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use taper_core::{
    AdaptiveAvgPool2d, AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig, Upsample2d,
    UpsampleMode, UpsampleTo, stream,
};

const CPU: Device = Device::Cpu;

/// Forward, and back through Σ g · y for a fixed g.
fn step(layer: &dyn Module, x: &Tensor, g: &Tensor) -> Result<()> {
    (layer.forward(black_box(x))? * g)?.sum_all()?.backward().map(drop)
}

/// Measures each of the named layers on the same x.
fn bench(criterion: &mut Criterion, name: &str, size: [usize; 4], layers: &[(&str, &dyn Module)]) {
    let noise = |name, shape: &[usize]| {
        stream(0, name).normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
    };
    let x = Var::from_tensor(&noise("x", &size)).expect("a variable");
    let mut group = criterion.benchmark_group(name);
    for (whose, layer) in layers {
        let g = noise("g", layer.forward(&x).expect("an output").dims());
        let [n, c, h, w] = size;
        let id = BenchmarkId::new(*whose, format!("{n}x{c}x{h}x{w}"));
        group.bench_function(id, |bencher| bencher.iter(|| step(*layer, &x, &g).expect("a step")));
    }
    group.finish();
}

fn bench_max(criterion: &mut Criterion) {
    let halves = MaxPool2d::new(2, MaxPool2dConfig::default()).expect("a layer");
    let candle = func(|x| x.max_pool2d(2));
    bench(
        criterion,
        "max_pool2d 2x2",
        [64, 64, 16, 16],
        &[("taper", &halves), ("candle", &candle)],
    );
    let (stride, padding) = (Some(2.into()), 1.into());
    let config = MaxPool2dConfig { stride, padding, ..Default::default() };
    let overlapping = MaxPool2d::new(3, config).expect("a layer");
    bench(criterion, "max_pool2d 3x3 stride 2", [8, 64, 112, 112], &[("taper", &overlapping)]);
}

fn bench_avg(criterion: &mut Criterion) {
    let halves = AvgPool2d::new(2, AvgPool2dConfig::default()).expect("a layer");
    let candle = func(|x| x.avg_pool2d(2));
    bench(
        criterion,
        "avg_pool2d 2x2",
        [64, 64, 16, 16],
        &[("taper", &halves), ("candle", &candle)],
    );
    let global = AdaptiveAvgPool2d::new(1).expect("a layer");
    let candle = func(|x| x.mean_keepdim((2, 3)));
    bench(criterion, "global average", [64, 512, 7, 7], &[("taper", &global), ("candle", &candle)]);
}

fn bench_upsample(criterion: &mut Criterion) {
    let layer = |mode| Upsample2d::new(UpsampleTo::Scale(2.0, 2.0), mode).expect("a layer");
    let nearest = layer(UpsampleMode::Nearest);
    let candle = func(|x| x.upsample_nearest2d(2 * x.dim(2)?, 2 * x.dim(3)?));
    bench(
        criterion,
        "upsample nearest",
        [64, 64, 8, 8],
        &[("taper", &nearest), ("candle", &candle)],
    );
    let bilinear = layer(UpsampleMode::Bilinear { align_corners: false });
    bench(criterion, "upsample bilinear", [64, 64, 8, 8], &[("taper", &bilinear)]);
}

criterion_group!(pooling, bench_max, bench_avg, bench_upsample);
criterion_main!(pooling);
