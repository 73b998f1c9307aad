//! An epoch of batches beside the epoch of the smallest network that trains on them: what their making costs.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::{DType, Device, Module, Result, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use taper_core::optim::{Optimizer, Sgd, SgdConfig};
use taper_core::{Activation, Gradients, Linear, LinearConfig, Parameters, linear, stream};
use taper_data::{Augmentation, Batches, BatchesConfig, ImageDataset, Prefetch};
use taper_losses::{ClassOptions, Target, cross_entropy};

const IMAGES: usize = 6000;
const BATCH_SIZE: usize = 60;

fn batches(augmentations: &[Augmentation]) -> Batches {
    let mut noise = stream(0, "images");
    let bytes = (0..IMAGES * 784).map(|_| noise.below(256) as u8).collect();
    let labels = (0..IMAGES).map(|_| noise.below(10) as u32).collect();
    let dataset = ImageDataset::new(bytes, [1, 28, 28], 255, labels, 10).expect("images");
    let augmentations = augmentations.to_vec();
    let config = BatchesConfig { batch_size: BATCH_SIZE, augmentations, ..Default::default() };
    let shuffle = stream(0, "shuffle");
    let indices = dataset.indices();
    Batches::new(&dataset, &indices, config, shuffle, &Device::Cpu).expect("batches")
}

/// 784-100-100-100-10 with sigmoids, as in the experiment `bn-converges-faster`.
struct Training {
    layers: Vec<Linear>,
    gradients: Gradients,
    optimizer: Sgd,
}

impl Training {
    fn new() -> Self {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &Device::Cpu);
        let layers = [784, 100, 100, 100, 10].windows(2).enumerate().map(|(at, widths)| {
            linear(widths[0], widths[1], LinearConfig::default(), vb.pp(at)).expect("a layer")
        });
        let layers = layers.collect();
        let trainable = parameters.trainable();
        let gradients = Gradients::new(trainable.iter().map(|(_, var)| var)).expect("room");
        let optimizer = Sgd::new(trainable, SgdConfig::default()).expect("an optimizer");
        Self { layers, gradients, optimizer }
    }

    fn step(&mut self, (images, labels): &(Tensor, Tensor)) {
        let mut step = || -> Result<()> {
            let mut x = images.clone();
            for (at, layer) in self.layers.iter().enumerate() {
                x = if at == 0 {
                    layer.forward(&x)?
                } else {
                    layer.forward(&Activation::Sigmoid.forward(&x)?)?
                };
            }
            let loss = cross_entropy(&x, Target::Indices(labels), &ClassOptions::default())?;
            self.gradients.backward(&loss)?;
            Ok(self.optimizer.step(&self.gradients)?)
        };
        step().expect("a step");
    }
}

fn bench_epoch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("epoch");
    let changes = [Augmentation::Shift(2), Augmentation::Flip];

    for (name, augmentations) in [("batches", &[][..]), ("batches, shift and flip", &changes)] {
        let mut batches = batches(augmentations);
        group.bench_function(name, |bencher| {
            bencher.iter(|| batches.epoch().for_each(|batch| drop(black_box(batch))));
        });
    }

    let mut training = Training::new();
    let batch = batches(&[]).next_batch().expect("a batch");
    group.bench_function("steps", |bencher| {
        bencher.iter(|| (0..IMAGES / BATCH_SIZE).for_each(|_| training.step(black_box(&batch))));
    });

    // Both together, with the batches before each step or on a thread of their own.
    let mut together = batches(&changes);
    group.bench_function("steps and batches, shift and flip", |bencher| {
        bencher.iter(|| together.epoch().for_each(|batch| training.step(&batch.expect("a batch"))));
    });
    let mut together = Prefetch::new(batches(&changes));
    group.bench_function("steps and batches, shift and flip, prefetched", |bencher| {
        bencher.iter(|| together.epoch().for_each(|batch| training.step(&batch.expect("a batch"))));
    });
    group.finish();
}

criterion_group!(data, bench_epoch);
criterion_main!(data);
