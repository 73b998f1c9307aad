//! The gradient of a kernel over few channels, as of a depthwise convolution: products of rows.

#![allow(unsafe_code)]

use super::geometry::Convolution;
use super::parts;
use super::passes;
use super::tile::LANES;
use crate::Element;
use crate::isa::{Isa, dispatch};
use crate::matmul::Update;

/// Taps that are summed at once.
const TAPS: usize = 4;

/// The gradient of the kernel.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    let (padding, passes) = passes::correlate(shape);
    let Some(pass) = passes.first() else { return };
    let (rows, columns) = (shape.height.output, shape.width.output);
    // Vectors of a row, of which the last overlaps the one before where the row is not whole vectors.
    let vectors: Vec<usize> = match columns.checked_sub(LANES) {
        Some(last) => (0..columns.div_ceil(LANES)).map(|at| (at * LANES).min(last)).collect(),
        None => Vec::new(),
    };
    let inputs = shape.group_inputs();
    let outputs = shape.group_outputs();
    parts::sum(shape, gradient, update, |images, gradient, update| {
        if update == Update::Replace {
            gradient.fill(T::ZERO);
        }
        let mut padded = vec![T::ZERO; inputs * padding.plane + LANES];
        let mut staged = vec![T::ZERO; rows * vectors.len() * LANES];
        for image in images {
            for group in 0..shape.groups {
                let at = (image * shape.groups + group) * inputs * shape.input_plane();
                padding.fill(&x[at..at + inputs * shape.input_plane()], &mut padded);
                for output in group * outputs..(group + 1) * outputs {
                    let plane = shape.output_plane();
                    let g = &g[(image * shape.outputs + output) * plane..][..plane];
                    stage(g, columns, &vectors, &mut staged);
                    let gradient = &mut gradient[output * shape.depth()..][..shape.depth()];
                    for (input, gradient) in gradient.chunks_exact_mut(shape.taps()).enumerate() {
                        let x = &padded[input * padding.plane..];
                        let taps = pass.taps.chunks(TAPS).zip(pass.offsets.chunks(TAPS));
                        for (taps, offsets) in taps {
                            let sums = dispatch!(I => products::<I, T>(
                                x, g, &staged, offsets, pass.row_step, &vectors, rows, columns,
                            ));
                            taps.iter().zip(sums).for_each(|(tap, sum)| gradient[*tap] += sum);
                        }
                    }
                }
            }
        }
    });
}

/// The vectors of each row, one after the other, with 0 for what is in two of them.
fn stage<T: Element>(g: &[T], columns: usize, vectors: &[usize], staged: &mut [T]) {
    if vectors.is_empty() {
        return;
    }
    for (g, staged) in g.chunks_exact(columns).zip(staged.chunks_exact_mut(vectors.len() * LANES)) {
        let mut done = 0;
        for (start, staged) in vectors.iter().zip(staged.chunks_exact_mut(LANES)) {
            staged.copy_from_slice(&g[*start..start + LANES]);
            staged[..done - start].fill(T::ZERO);
            done = start + LANES;
        }
    }
}

/// For each of up to four taps, Σ over the places of g · x.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // One loop nest.
fn products<I: Isa, T: Element>(
    x: &[T],
    g: &[T],
    staged: &[T],
    offsets: &[usize],
    row_step: usize,
    vectors: &[usize],
    rows: usize,
    columns: usize,
) -> [T; TAPS] {
    let place = |tap: usize| offsets[tap.min(offsets.len() - 1)];
    let places: [usize; TAPS] = std::array::from_fn(place);
    let mut sums = [T::ZERO; TAPS];
    if vectors.is_empty() {
        for (row, g) in g.chunks_exact(columns).enumerate() {
            for (sum, place) in sums.iter_mut().zip(places) {
                for (x, g) in x[place + row * row_step..].iter().zip(g) {
                    *sum = x.fma::<I>(*g, *sum);
                }
            }
        }
        return sums;
    }
    let mut lanes = [[T::ZERO; LANES]; TAPS];
    let last = vectors.last().copied().unwrap_or(0) + LANES;
    let furthest = places.iter().max().copied().unwrap_or(0) + (rows - 1) * row_step + last;
    assert!(furthest <= x.len() && staged.len() == rows * vectors.len() * LANES);
    let mut staged = staged.as_ptr();
    for row in 0..rows {
        for start in vectors {
            // SAFETY: `staged` has a vector for each row and start; x reaches as far as the last of them.
            unsafe {
                let g = staged.cast::<[T; LANES]>().read_unaligned();
                staged = staged.add(LANES);
                for (lanes, place) in lanes.iter_mut().zip(places) {
                    let x = x.as_ptr().add(place + row * row_step + start);
                    let x = x.cast::<[T; LANES]>().read_unaligned();
                    for lane in 0..LANES {
                        lanes[lane] = x[lane].fma::<I>(g[lane], lanes[lane]);
                    }
                }
            }
        }
    }
    for (sum, mut lanes) in sums.iter_mut().zip(lanes) {
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                lanes[lane] += lanes[lane + width];
            }
            width /= 2;
        }
        *sum = lanes[0];
    }
    sums
}
