//! A step of each optimizer, on few large parameters and on many small ones, beside candle-nn's where it has
//! one.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Var};
use candle_nn::Optimizer as _;
use criterion::{Criterion, criterion_group, criterion_main};
use taper_core::optim::{Adam, AdamConfig, AdamW, AdamWConfig, Optimizer, Sgd, SgdConfig};
use taper_core::{GradientStore, Gradients, clip_grad_norm, stream};

const CPU: Device = Device::Cpu;

/// Parameters and a gradient for each, in both kinds of store.
struct Work {
    parameters: Vec<(String, Var)>,
    gradients: Gradients,
    store: GradStore,
}

impl Work {
    fn new(count: usize, shape: &[usize]) -> Self {
        let mut noise = stream(0, "optimizers");
        let mut noise = || noise.normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise");
        let parameters: Vec<_> = (0..count)
            .map(|at| (format!("p{at:02}"), Var::from_tensor(&noise()).expect("a variable")))
            .collect();
        let mut gradients = Gradients::new(parameters.iter().map(|(_, var)| var)).expect("room");
        let mut store = GradStore::default();
        for (_, var) in &parameters {
            let gradient = noise();
            gradients.set(var, &gradient).expect("a gradient");
            store.insert(var, gradient);
        }
        Self { parameters, gradients, store }
    }

    fn optimizers(&self) -> [(&'static str, Box<dyn Optimizer>); 4] {
        let parameters = || self.parameters.clone();
        let learning_rate = 1e-6;
        let sgd = SgdConfig { learning_rate, ..Default::default() };
        let momentum = SgdConfig { momentum: 0.9, ..sgd };
        let adam = AdamConfig { learning_rate, ..Default::default() };
        let adamw = AdamWConfig { learning_rate, ..Default::default() };
        [
            ("sgd", Box::new(Sgd::new(parameters(), sgd).expect("an optimizer"))),
            ("momentum", Box::new(Sgd::new(parameters(), momentum).expect("an optimizer"))),
            ("adam", Box::new(Adam::new(parameters(), adam).expect("an optimizer"))),
            ("adamw", Box::new(AdamW::new(parameters(), adamw).expect("an optimizer"))),
        ]
    }
}

fn bench_optimizers(criterion: &mut Criterion) {
    for (size, count, shape) in [("3x1000x1000", 3, &[1000, 1000][..]), ("60x2000", 60, &[2000])] {
        let mut group = criterion.benchmark_group(format!("optimizers/{size}"));
        let mut work = Work::new(count, shape);
        for (name, mut optimizer) in work.optimizers() {
            group.bench_function(format!("{name}/taper"), |bencher| {
                bencher.iter(|| optimizer.step(black_box(&work.gradients)).expect("a step"));
            });
            group.bench_function(format!("{name}/taper, candle's gradients"), |bencher| {
                bencher.iter(|| optimizer.step(black_box(&work.store)).expect("a step"));
            });
            group.bench_function(format!("{name}/taper, clipped"), |bencher| {
                bencher.iter(|| {
                    optimizer.step_clipped(black_box(&work.gradients), 1.0).expect("a step")
                });
            });
        }
        let variables = || work.parameters.iter().map(|(_, var)| var.clone()).collect();
        let mut adamw = candle_nn::AdamW::new_lr(variables(), 1e-6).expect("an optimizer");
        group.bench_function("adamw/candle-nn", |bencher| {
            bencher.iter(|| adamw.step(black_box(&work.store)).expect("a step"));
        });
        let mut sgd = candle_nn::SGD::new(variables(), 1e-6).expect("an optimizer");
        group.bench_function("sgd/candle-nn", |bencher| {
            bencher.iter(|| sgd.step(black_box(&work.store)).expect("a step"));
        });
        group.bench_function("clip_grad_norm/taper", |bencher| {
            // The limit is below the norm by the 1e-6 in its definition, so that each turn scales.
            bencher.iter(|| {
                let parameters = black_box(&work.parameters);
                clip_grad_norm(&mut work.gradients, parameters, 1.0, true).expect("a norm")
            });
        });
        group.finish();
    }
}

criterion_group!(optimizers, bench_optimizers);
criterion_main!(optimizers);
