//! A training step of each convolution, forward and backward, beside candle-nn's.
#![allow(clippy::expect_used)] // What fails is no measurement.

use std::hint::black_box;

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use taper_core::{
    Conv2dConfig, ConvTranspose2dConfig, Gradients, Parameters, conv_transpose2d, conv2d, stream,
};

const CPU: Device = Device::Cpu;
const BATCH: usize = 64;

fn noise(name: &str, shape: &[usize]) -> Tensor {
    stream(0, name).normal(0.0, 1.0, shape, DType::F32, &CPU).expect("noise")
}

/// Goes back through Σ g · y, for a fixed g.
fn loss(layer: &impl Module, x: &Tensor, g: &Tensor) -> Result<Tensor> {
    (layer.forward(black_box(x))? * g)?.sum_all()
}

/// Benches a layer of ours, whose parameters get their gradients in place, and one of candle's.
fn pair(
    criterion: &mut Criterion,
    (group, size): (&str, &str),
    x: &[usize],
    (ours, parameters): (&impl Module, &Parameters),
    theirs: Option<&dyn Module>,
) {
    let x = Var::from_tensor(&noise("x", x)).expect("a variable");
    let y = ours.forward(&x).expect("a result");
    let g = noise("g", y.dims());
    let mut bench = criterion.benchmark_group(group);
    let trained = parameters.trainable();
    let variables = trained.iter().map(|(_, variable)| variable).chain([&x]);
    let mut gradients = Gradients::new(variables).expect("gradients");
    bench.bench_function(BenchmarkId::new("taper", size), |bencher| {
        bencher.iter(|| gradients.backward(&loss(ours, &x, &g).expect("a loss")).expect("a step"));
    });
    if let Some(theirs) = theirs {
        bench.bench_function(BenchmarkId::new("candle-nn", size), |bencher| {
            let step = || (theirs.forward(black_box(&x))? * &g)?.sum_all()?.backward();
            bencher.iter(|| step().expect("a step"));
        });
    }
    bench.finish();
}

/// Channels, kernel, stride, padding, groups and size of an image.
type Case = (&'static str, [usize; 2], usize, usize, usize, usize, usize);

const FORWARD: [Case; 6] = [
    ("conv2d_1x1", [64, 256], 1, 1, 0, 1, 16),
    ("conv2d_1x1", [256, 64], 1, 1, 0, 1, 16),
    ("conv2d_3x3", [64, 64], 3, 1, 1, 1, 16),
    ("conv2d_3x3_stride_2", [64, 64], 3, 2, 1, 1, 16),
    ("conv2d_3x3_stride_2", [16, 32], 3, 2, 1, 1, 14),
    ("conv2d_3x3_depthwise", [64, 64], 3, 1, 1, 64, 16),
];

const TRANSPOSED: [Case; 3] = [
    ("conv_transpose2d_4x4_stride_2", [64, 32], 4, 2, 1, 1, 8),
    ("conv_transpose2d_4x4_stride_2", [32, 16], 4, 2, 1, 1, 7),
    ("conv_transpose2d_4x4_stride_2", [16, 1], 4, 2, 1, 1, 14),
];

fn bench_forward(criterion: &mut Criterion) {
    for (group, [inputs, outputs], kernel, stride, padding, groups, size) in FORWARD {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let config = Conv2dConfig {
            stride: stride.into(),
            padding: padding.into(),
            groups,
            ..Default::default()
        };
        let ours = conv2d(inputs, outputs, kernel, config, vb.pp("ours")).expect("a layer");
        let config = candle_nn::Conv2dConfig { stride, padding, groups, ..Default::default() };
        let other = Parameters::new(&stream(0, "init"));
        let vb = other.builder(DType::F32, &CPU);
        let theirs = candle_nn::conv2d(inputs, outputs, kernel, config, vb).expect("a layer");
        let name = format!("{BATCH}x{inputs}x{size}x{size}_to_{outputs}");
        let x = [BATCH, inputs, size, size];
        pair(criterion, (group, &name), &x, (&ours, &parameters), Some(&theirs));
    }
}

fn bench_transposed(criterion: &mut Criterion) {
    for (group, [inputs, outputs], kernel, stride, padding, _, size) in TRANSPOSED {
        let parameters = Parameters::new(&stream(0, "init"));
        let vb = parameters.builder(DType::F32, &CPU);
        let config = ConvTranspose2dConfig {
            stride: stride.into(),
            padding: padding.into(),
            ..Default::default()
        };
        let ours =
            conv_transpose2d(inputs, outputs, kernel, config, vb.pp("ours")).expect("a layer");
        let config = candle_nn::ConvTranspose2dConfig { stride, padding, ..Default::default() };
        let other = Parameters::new(&stream(0, "init"));
        let vb = other.builder(DType::F32, &CPU);
        let theirs =
            candle_nn::conv_transpose2d(inputs, outputs, kernel, config, vb).expect("a layer");
        let name = format!("{BATCH}x{inputs}x{size}x{size}_to_{outputs}");
        let x = [BATCH, inputs, size, size];
        pair(criterion, (group, &name), &x, (&ours, &parameters), Some(&theirs));
    }
}

criterion_group!(convolutions, bench_forward, bench_transposed);
criterion_main!(convolutions);
