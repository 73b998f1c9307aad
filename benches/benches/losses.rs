//! Forward and backward of each loss, beside candle-nn's.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use taper_core::{Result, stream};
use taper_losses::{
    BceWithLogitsOptions, ClassOptions, LossOptions, Target, bce_with_logits, cross_entropy, mse,
};

const CPU: Device = Device::Cpu;

fn noise(name: &str, shape: (usize, usize)) -> Tensor {
    stream(0, name).normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
}

fn uniform(name: &str, shape: (usize, usize)) -> Tensor {
    stream(0, name).uniform(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
}

fn backward(loss: Result<Tensor>) -> GradStore {
    loss.expect("a loss").backward().expect("gradients")
}

fn bench_cross_entropy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cross_entropy");
    for (samples, classes) in [(128, 10), (4096, 1000)] {
        let logits = Var::from_tensor(&noise("logits", (samples, classes))).expect("a variable");
        let labels: Vec<u32> = (0..samples).map(|at| (at % classes) as u32).collect();
        let labels = Tensor::new(labels, &CPU).expect("labels");
        let options = ClassOptions::default();
        let size = format!("{samples}x{classes}");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            let target = Target::Indices(&labels);
            bencher.iter(|| backward(cross_entropy(black_box(&logits), target, &options)));
        });
        group.bench_function(BenchmarkId::new("candle-nn", &size), |bencher| {
            let loss = || Ok(candle_nn::loss::cross_entropy(black_box(&logits), &labels)?);
            bencher.iter(|| backward(loss()));
        });
    }
    group.finish();
}

fn bench_bce_with_logits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bce_with_logits");
    for samples in [128, 256] {
        let logits = Var::from_tensor(&noise("logits", (samples, 784))).expect("a variable");
        let target = uniform("target", (samples, 784));
        let options = BceWithLogitsOptions::default();
        let size = format!("{samples}x784");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            bencher.iter(|| backward(bce_with_logits(black_box(&logits), &target, &options)));
        });
        group.bench_function(BenchmarkId::new("candle-nn", &size), |bencher| {
            let loss = || {
                let loss = candle_nn::loss::binary_cross_entropy_with_logit;
                Ok(loss(black_box(&logits), &target)?)
            };
            bencher.iter(|| backward(loss()));
        });
    }
    group.finish();
}

fn bench_mse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mse");
    for samples in [128, 256] {
        let input = Var::from_tensor(&noise("input", (samples, 784))).expect("a variable");
        let target = noise("target", (samples, 784));
        let options = LossOptions::default();
        let size = format!("{samples}x784");
        group.bench_function(BenchmarkId::new("taper", &size), |bencher| {
            bencher.iter(|| backward(mse(black_box(&input), &target, &options)));
        });
        group.bench_function(BenchmarkId::new("candle-nn", &size), |bencher| {
            let loss = || Ok(candle_nn::loss::mse(black_box(&input), &target)?);
            bencher.iter(|| backward(loss()));
        });
    }
    group.finish();
}

criterion_group!(losses, bench_bce_with_logits, bench_cross_entropy, bench_mse);
criterion_main!(losses);
