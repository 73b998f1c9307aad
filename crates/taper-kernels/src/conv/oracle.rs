//! The three maps by their definition, and random geometries to compare them on.

use proptest::prelude::*;

use super::geometry::{Axis, Convolution};
use super::target::Target;
use crate::matmul::Update;
use crate::{Activation, Element};

/// Calls `f` with the places in x, weight and y of each product.
fn meetings(shape: &Convolution, mut f: impl FnMut(usize, usize, usize)) {
    let (height, width) = (shape.height, shape.width);
    let (inputs, outputs) = (shape.inputs / shape.groups, shape.outputs / shape.groups);
    let meets = |axis: Axis, output: usize, tap: usize| {
        (output * axis.stride + tap * axis.dilation)
            .checked_sub(axis.padding)
            .filter(|at| *at < axis.input)
    };
    let mut y = 0;
    for image in 0..shape.batch {
        for output in 0..shape.outputs {
            for row in 0..height.output {
                for column in 0..width.output {
                    let mut w = output * inputs * height.kernel * width.kernel;
                    for input in 0..inputs {
                        let channel = output / outputs * inputs + input;
                        for down in 0..height.kernel {
                            for along in 0..width.kernel {
                                if let Some(i) = meets(height, row, down)
                                    && let Some(j) = meets(width, column, along)
                                {
                                    let plane = image * shape.inputs + channel;
                                    f((plane * height.input + i) * width.input + j, w, y);
                                }
                                w += 1;
                            }
                        }
                    }
                    y += 1;
                }
            }
        }
    }
}

/// The lengths of x, weight and y.
fn lengths(shape: &Convolution) -> [usize; 3] {
    let x = shape.batch * shape.inputs * shape.height.input * shape.width.input;
    let weight =
        shape.outputs * shape.inputs / shape.groups * shape.height.kernel * shape.width.kernel;
    [x, weight, shape.batch * shape.outputs * shape.height.output * shape.width.output]
}

/// Numbers in [−1, 1] that look random.
pub(crate) fn noise<T: Element>(length: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        T::of((state >> 40) as f64 / f64::from(1u32 << 23) - 1.0)
    };
    (0..length).map(|_| next()).collect()
}

/// Sizes around vectors of 8 and 16, strides and dilations, paddings larger than the kernel, and outputs that
/// read far beyond the image or not all of it.
fn axis() -> impl Strategy<Value = Axis> {
    let input = prop_oneof![Just(1), 2usize..=9, 15usize..=18];
    let output = prop_oneof![Just(None), (1usize..=18).prop_map(Some)];
    (input, output, 1usize..=4, 1usize..=4, 0usize..=5, 1usize..=3).prop_map(
        |(input, output, kernel, stride, padding, dilation)| {
            let padded = input + 2 * padding;
            let natural = padded.saturating_sub(dilation * (kernel - 1) + 1) / stride + 1;
            Axis { input, output: output.unwrap_or(natural), kernel, stride, padding, dilation }
        },
    )
}

fn same(length: usize) -> Axis {
    Axis { input: length, output: length, kernel: 3, stride: 1, padding: 1, dilation: 1 }
}

/// Any convolution, with those that have algorithms of their own among them.
pub(crate) fn convolutions() -> impl Strategy<Value = Convolution> {
    let pointwise =
        |axis: Axis| Axis { output: axis.input, kernel: 1, stride: 1, padding: 0, ..axis };
    let axes = prop_oneof![
        4 => (axis(), axis()),
        1 => (axis(), axis()).prop_map(move |(height, width)| (pointwise(height), pointwise(width))),
        1 => (1usize..=18, 1usize..=18).prop_map(|(height, width)| (same(height), same(width))),
    ];
    let channels = prop_oneof![
        3 => (1usize..=3, 1usize..=5, 1usize..=5),
        1 => (Just(1), 1usize..=20, 1usize..=20),
        1 => (1usize..=9, Just(1), 1usize..=2),
    ];
    (1usize..=4, channels, axes).prop_map(|(batch, (groups, inputs, outputs), (height, width))| {
        Convolution {
            batch,
            inputs: groups * inputs,
            outputs: groups * outputs,
            groups,
            height,
            width,
        }
    })
}

/// Two operands, what is done with the result, and the result.
type Map<T> = fn(&Convolution, &[T], &[T], Target<'_, T>, &mut [T]);

/// The three maps of an algorithm.
pub(crate) struct Maps<T: 'static> {
    pub(crate) correlate: Map<T>,
    pub(crate) spread: Map<T>,
    pub(crate) weights: fn(&Convolution, &[T], &[T], &mut [T], Update),
}

/// Compares the three maps with their definition in f64: with bias and activation, and added to what is there.
pub(crate) fn check<T: Element>(
    shape: &Convolution,
    maps: &Maps<T>,
    tolerance: f64,
) -> Result<(), TestCaseError> {
    let [x, weight, y] = lengths(shape);
    let [x, weight, y] =
        [(x, 1), (weight, 2), (y, 3)].map(|(length, seed)| noise::<T>(length, seed));
    let bias = noise::<T>(shape.inputs.max(shape.outputs), 4);
    let wide = |x: &[T]| -> Vec<f64> { x.iter().map(|x| x.to_f64()).collect() };
    let (x64, w64, y64) = (wide(&x), wide(&weight), wide(&y));
    let mut sums = [vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; y.len()]];
    meetings(shape, |i, j, k| {
        sums[0][i] += w64[j] * y64[k];
        sums[1][j] += x64[i] * y64[k];
        sums[2][k] += x64[i] * w64[j];
    });
    // Relative to the largest magnitude: a sum of many terms that nearly cancel keeps their rounding.
    let close = |name: &str, actual: &[T], expected: &dyn Fn(usize) -> f64| {
        let scale = (0..actual.len()).map(|at| expected(at).abs()).fold(1.0, f64::max);
        for (at, actual) in actual.iter().enumerate() {
            let (actual, expected) = (actual.to_f64(), expected(at));
            prop_assert!(
                (actual - expected).abs() <= tolerance * scale,
                "{name}[{at}]: {actual} is not {expected}"
            );
        }
        Ok(())
    };
    let channel = |at: usize, plane: usize, channels: usize| bias[at / plane % channels].to_f64();
    let activated = Target::result(Some(&bias), Activation::Relu);
    let added = Target::gradient(Update::Add);
    let plane = shape.height.output * shape.width.output;
    let mut result = vec![T::of(f64::NAN); y.len()];
    (maps.correlate)(shape, &x, &weight, activated, &mut result);
    close("correlate", &result, &|at| (sums[2][at] + channel(at, plane, shape.outputs)).max(0.0))?;
    let mut result = y.clone();
    (maps.correlate)(shape, &x, &weight, added, &mut result);
    close("correlate, added", &result, &|at| sums[2][at] + y64[at])?;
    let plane = shape.height.input * shape.width.input;
    let mut result = vec![T::of(f64::NAN); x.len()];
    (maps.spread)(shape, &y, &weight, activated, &mut result);
    close("spread", &result, &|at| (sums[0][at] + channel(at, plane, shape.inputs)).max(0.0))?;
    let mut result = x.clone();
    (maps.spread)(shape, &y, &weight, added, &mut result);
    close("spread, added", &result, &|at| sums[0][at] + x64[at])?;
    let mut result = vec![T::of(f64::NAN); weight.len()];
    (maps.weights)(shape, &x, &y, &mut result, Update::Replace);
    close("weights", &result, &|at| sums[1][at])?;
    let mut result = weight.clone();
    (maps.weights)(shape, &x, &y, &mut result, Update::Add);
    close("weights, added", &result, &|at| sums[1][at] + w64[at])
}
