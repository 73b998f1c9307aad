//! Convolutions and transposed convolutions, forward and backward.
//!
//! Both are made of three maps between the images under a kernel and the images of its places: `correlate` to
//! the places, its adjoint `spread`, and the gradient of the kernel. A transposed convolution is `spread`
//! forward and `correlate` backward.

mod depthwise;
mod direct;
mod geometry;
mod kernel_gradient;
mod lowered;
#[cfg(test)]
mod oracle;
mod parts;
mod passes;
mod planes;
mod pointwise;
mod target;
mod tile;

pub use geometry::{Axis, Convolution};

use crate::activation::pull_from_output;
use crate::isa::dispatch;
use crate::threads::{self, Chunks};
use crate::{Activation, Element, Gradient, Update, work};
use target::Target;

impl Convolution {
    /// y = f(x ⋆ w + b): x the images under the kernel, w the kernel, b (outputs), y those of places.
    pub fn forward<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
        y: &mut [T],
    ) {
        self.check(x.len(), weight.len(), y.len());
        correlate(self, x, weight, Target::result(bias, activation), y);
    }

    /// The gradients of x, w and b from that of y. The activation is told from `y`, so it is an
    /// [invertible](Activation::invertible) one.
    #[allow(clippy::too_many_arguments)] // Three operands, one result and the places of three gradients.
    pub fn backward<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        y: &[T],
        upstream: &[T],
        activation: Activation,
        of_x: Gradient<'_, T>,
        of_weight: Gradient<'_, T>,
        of_bias: Gradient<'_, T>,
    ) {
        self.check(x.len(), weight.len(), upstream.len());
        let mut before = Vec::new();
        let upstream = pull(activation, y, upstream, &mut before);
        if let Some((gradient, update)) = of_bias {
            planes::add_sums(upstream, self.outputs, self.output_plane(), gradient, update);
        }
        if let Some((gradient, update)) = of_weight {
            weights(self, x, upstream, gradient, update);
        }
        if let Some((gradient, update)) = of_x {
            spread(self, upstream, weight, Target::gradient(update), gradient);
        }
    }

    /// The transposed convolution: x the images of places, y those under the kernel, b (inputs).
    pub fn transposed_forward<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        activation: Activation,
        y: &mut [T],
    ) {
        self.check(y.len(), weight.len(), x.len());
        spread(self, x, weight, Target::result(bias, activation), y);
    }

    /// The gradients of the transposed convolution; see [`backward`](Self::backward).
    #[allow(clippy::too_many_arguments)] // As for `backward`.
    pub fn transposed_backward<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        y: &[T],
        upstream: &[T],
        activation: Activation,
        of_x: Gradient<'_, T>,
        of_weight: Gradient<'_, T>,
        of_bias: Gradient<'_, T>,
    ) {
        self.check(upstream.len(), weight.len(), x.len());
        let mut before = Vec::new();
        let upstream = pull(activation, y, upstream, &mut before);
        if let Some((gradient, update)) = of_bias {
            planes::add_sums(upstream, self.inputs, self.input_plane(), gradient, update);
        }
        if let Some((gradient, update)) = of_weight {
            weights(self, upstream, x, gradient, update);
        }
        if let Some((gradient, update)) = of_x {
            correlate(self, upstream, weight, Target::gradient(update), gradient);
        }
    }
}

/// The gradient before the activation: `upstream` itself, or made in `before`.
fn pull<'a, T: Element>(
    activation: Activation,
    y: &[T],
    upstream: &'a [T],
    before: &'a mut Vec<T>,
) -> &'a [T] {
    debug_assert!(activation.invertible());
    if activation == Activation::Identity {
        return upstream;
    }
    *before = crate::buffer(upstream.len());
    let size = work::block(upstream.len());
    let tasks = upstream.len().div_ceil(size);
    threads::each(tasks, Chunks::new(before, size), |block, gradient| {
        let y = &y[block * size..][..gradient.len()];
        let upstream = &upstream[block * size..][..gradient.len()];
        dispatch!(I => pull_from_output::<I, T>(activation, y, upstream, gradient));
    });
    before
}

/// Images of places from those under the kernel.
fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    match algorithm(shape, shape.width.output) {
        Algorithm::Pointwise => pointwise::correlate(shape, x, weight, target, y),
        Algorithm::Depthwise => depthwise::correlate(shape, x, weight, target, y),
        Algorithm::Tiles => direct::correlate(shape, x, weight, target, y),
        Algorithm::Columns => lowered::correlate(shape, x, weight, target, y),
    }
}

/// Images under the kernel from those of places.
fn spread<T: Element>(
    shape: &Convolution,
    g: &[T],
    weight: &[T],
    target: Target<'_, T>,
    x: &mut [T],
) {
    // With several passes a row of results is one of vectors only if they are cheap to put where they belong.
    let elements = shape.width.input / shape.width.stride;
    let apart = shape.width.stride > 1 && shape.group_outputs() >= OUTPUTS;
    match algorithm(shape, if apart { elements / 2 } else { elements }) {
        Algorithm::Pointwise => pointwise::spread(shape, g, weight, target, x),
        Algorithm::Depthwise => depthwise::spread(shape, g, weight, target, x),
        Algorithm::Tiles => direct::spread(shape, g, weight, target, x),
        Algorithm::Columns => lowered::spread(shape, g, weight, target, x),
    }
}

/// The gradient of the kernel.
fn weights<T: Element>(shape: &Convolution, x: &[T], g: &[T], gradient: &mut [T], update: Update) {
    // A tile adds its sums to the kernel's once for an image: only the places of large planes are worth that.
    let tiles = shape.output_plane() >= SUMS && shape.group_outputs() < OUTPUTS;
    match algorithm(shape, if tiles { shape.group_inputs() } else { 0 }) {
        Algorithm::Pointwise => pointwise::weights(shape, x, g, gradient, update),
        Algorithm::Depthwise => depthwise::weights(shape, x, g, gradient, update),
        Algorithm::Tiles => kernel_gradient::weights(shape, x, g, gradient, update),
        Algorithm::Columns => lowered::weights(shape, x, g, gradient, update),
    }
}

/// The ways to compute a map.
enum Algorithm {
    Pointwise,
    Depthwise,
    Tiles,
    Columns,
}

/// The fastest way, where the vectors of a tile would lie along so many elements.
fn algorithm(shape: &Convolution, elements: usize) -> Algorithm {
    if shape.depthwise() {
        Algorithm::Depthwise
    } else if shape.pointwise() && shape.input_plane() >= PLANE {
        Algorithm::Pointwise
    } else if elements > tile::LANES / 2 {
        Algorithm::Tiles
    } else {
        // Too few to fill them well: the images of a batch fill a product.
        Algorithm::Columns
    }
}

/// Elements of a plane from which on images are multiplied one by one.
const PLANE: usize = 8;
/// Places from which on the gradient of the kernel is made by tiles.
const SUMS: usize = 256;
/// Channels of places from which on a product is faster than tiles, since it gathers its columns once for all.
const OUTPUTS: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::oracle::{Maps, check, convolutions, noise};
    use super::*;

    const fn all<T: Element>() -> Maps<T> {
        Maps { correlate, spread, weights }
    }

    const fn lowered<T: Element>() -> Maps<T> {
        Maps { correlate: lowered::correlate, spread: lowered::spread, weights: lowered::weights }
    }

    const fn depthwise<T: Element>() -> Maps<T> {
        Maps {
            correlate: depthwise::correlate,
            spread: depthwise::spread,
            weights: depthwise::weights,
        }
    }

    const fn tiles<T: Element>() -> Maps<T> {
        Maps {
            correlate: direct::correlate,
            spread: direct::spread,
            weights: kernel_gradient::weights,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn follows_the_definition(shape in convolutions()) {
            check::<f64>(&shape, &all(), 1e-12)?;
            check::<f32>(&shape, &all(), 1e-5)?;
        }

        #[test]
        fn any_geometry_by_tiles(shape in convolutions()) {
            check::<f64>(&shape, &tiles(), 1e-12)?;
            check::<f32>(&shape, &tiles(), 1e-5)?;
        }

        #[test]
        fn any_geometry_of_channels_by_themselves(shape in convolutions()) {
            let (inputs, outputs) = (shape.groups, shape.groups);
            let shape = Convolution { inputs, outputs, ..shape };
            check::<f64>(&shape, &depthwise(), 1e-12)?;
            check::<f32>(&shape, &depthwise(), 1e-5)?;
        }

        #[test]
        fn any_geometry_as_a_product(shape in convolutions()) {
            check::<f64>(&shape, &lowered(), 1e-12)?;
            check::<f32>(&shape, &lowered(), 1e-5)?;
        }
    }

    fn axis(input: usize, output: usize, kernel: usize, stride: usize, padding: usize) -> Axis {
        Axis { input, output, kernel, stride, padding, dilation: 1 }
    }

    #[test]
    fn by_hand() {
        // Columns 0 1 2 of zeros and (1, 2, 3), stride 2: taps (10, 1).
        let shape = Convolution {
            batch: 1,
            inputs: 1,
            outputs: 1,
            groups: 1,
            height: axis(1, 1, 1, 1, 0),
            width: axis(3, 2, 2, 2, 1),
        };
        let (x, weight) = ([1.0, 2.0, 3.0], [10.0, 1.0]);
        let mut y = [f64::NAN; 2];
        shape.forward(&x, &weight, Some(&[0.5]), Activation::Identity, &mut y);
        assert_eq!(y, [1.5, 23.5]);
        let mut y = [f64::NAN; 2];
        shape.forward(&x, &weight, Some(&[-2.0]), Activation::Relu, &mut y);
        assert_eq!(y, [0.0, 21.0]);
        let (mut of_x, mut of_weight, mut of_bias) = ([f64::NAN; 3], [1.0, 1.0], [f64::NAN]);
        shape.backward(
            &x,
            &weight,
            &y,
            &[7.0, 2.0],
            Activation::Relu,
            Some((&mut of_x, Update::Replace)),
            Some((&mut of_weight, Update::Add)),
            Some((&mut of_bias, Update::Replace)),
        );
        assert_eq!((of_x, of_weight, of_bias), ([0.0, 20.0, 2.0], [5.0, 7.0], [2.0]));
        let mut y = [f64::NAN; 3];
        shape.transposed_forward(&[7.0, 2.0], &weight, Some(&[0.5]), Activation::Identity, &mut y);
        assert_eq!(y, [7.5, 20.5, 2.5]);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        // By each algorithm.
        let cases =
            [(1, 11, 1), (3, 11, 1), (3, 11, 20), (3, 4, 1), (3, 1, 1), (3, 4, 4), (1, 2, 1)];
        for (kernel, size, groups) in cases {
            let axis = axis(size, size, kernel, 1, kernel / 2);
            let (inputs, outputs) = (if groups > 1 { 20 } else { 17 }, 20);
            let shape =
                Convolution { batch: 9, inputs, outputs, groups, height: axis, width: axis };
            let x = noise::<f32>(9 * shape.input_image(), 1);
            let g = noise::<f32>(9 * shape.output_image(), 2);
            let weight = noise::<f32>(shape.weights(), 3);
            let run = |limit| {
                threads::limit(limit, || {
                    let mut y = vec![f32::NAN; g.len()];
                    let (mut of_x, mut of_weight) = (x.clone(), weight.clone());
                    let mut of_bias = vec![0.0; outputs];
                    shape.forward(&x, &weight, None, Activation::Tanh, &mut y);
                    shape.backward(
                        &x,
                        &weight,
                        &y,
                        &g,
                        Activation::Tanh,
                        Some((&mut of_x, Update::Replace)),
                        Some((&mut of_weight, Update::Replace)),
                        Some((&mut of_bias, Update::Replace)),
                    );
                    [y, of_x, of_weight, of_bias]
                })
            };
            let one = run(1);
            for limit in [2, 3, 8] {
                assert!(run(limit) == one);
            }
        }
    }

    #[test]
    fn nan_and_infinity_go_through() {
        // By each algorithm: channels by themselves, tiles, columns of a product, 1x1.
        for (channels, size, kernel) in [(1, 8, 3), (2, 8, 3), (2, 4, 3), (2, 2, 1), (2, 8, 1)] {
            let axis = axis(size, size, kernel, 1, kernel / 2);
            let (inputs, outputs) = (channels, channels);
            let shape =
                Convolution { batch: 2, inputs, outputs, groups: 1, height: axis, width: axis };
            let plane = size * size;
            let weight = vec![0.1; shape.weights()];
            let bias = vec![0.0; channels];
            for bad in [f32::NAN, f32::INFINITY] {
                // In the last channel of the first image.
                let mut x = vec![0.5; 2 * channels * plane];
                let (row, column) = (size / 2, 1);
                x[(channels - 1) * plane + row * size + column] = bad;
                let mut y = vec![0.0; x.len()];
                shape.forward(&x, &weight, Some(&bias), Activation::Relu, &mut y);
                for (at, y) in y.iter().enumerate() {
                    let (image, place) = (at / (channels * plane), at % plane);
                    let reach = kernel / 2;
                    let near = (place / size).abs_diff(row) <= reach
                        && (place % size).abs_diff(column) <= reach;
                    assert_eq!(y.is_finite(), image > 0 || !near, "{channels} {size} {at} {y}");
                }
            }
        }
    }
}
