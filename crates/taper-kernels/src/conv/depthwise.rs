//! Depthwise convolution: each channel by itself, one padded plane after the other, which stays in the first-level cache.
//!
//! The lanes of a vector are neighbouring results of a row, for all taps of which the sums stay in registers.

#![allow(unsafe_code)]

use super::geometry::Convolution;
use super::passes::{self, Padding, Pass};
use super::target::Target;
use super::tile::LANES;
use crate::isa::{Isa, dispatch};
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// Vectors of results that are summed at once: as many additions as are in flight.
const VECTORS: usize = 8;
/// Taps of the gradient that are summed at once: all of a kernel of 3x3.
const TAPS: usize = 9;
/// The most tasks into which the gradient of the kernel is cut.
const TASKS: usize = 8;

/// The images of places from those under the kernel.
pub(crate) fn correlate<T: Element>(
    shape: &Convolution,
    x: &[T],
    weight: &[T],
    target: Target<'_, T>,
    y: &mut [T],
) {
    let plane = [shape.height.output, shape.width.output];
    Job::new(shape, passes::correlate(shape), plane).run(x, weight, target, y);
}

/// The images under the kernel from those of places.
pub(crate) fn spread<T: Element>(
    shape: &Convolution,
    g: &[T],
    weight: &[T],
    target: Target<'_, T>,
    x: &mut [T],
) {
    let plane = [shape.height.input, shape.width.input];
    Job::new(shape, passes::spread(shape), plane).run(g, weight, target, x);
}

/// What the planes have in common.
struct Job {
    channels: usize,
    taps: usize,
    padding: Padding,
    passes: Vec<(Pass, Vectors)>,
    /// Rows and columns of a written plane.
    plane: [usize; 2],
}

impl Job {
    fn new(
        shape: &Convolution,
        (padding, passes): (Padding, Vec<Pass>),
        plane: [usize; 2],
    ) -> Self {
        let passes = passes.into_iter().map(|pass| {
            let vectors = Vectors::new(&pass);
            (pass, vectors)
        });
        Self {
            channels: shape.inputs,
            taps: shape.taps(),
            passes: passes.collect(),
            padding,
            plane,
        }
    }

    fn run<T: Element>(&self, x: &[T], weight: &[T], target: Target<'_, T>, y: &mut [T]) {
        let size = self.plane[0] * self.plane[1];
        let planes = y.len() / size;
        let some = work::rows(planes, self.padding.plane + size * self.taps.div_ceil(VECTORS));
        threads::each(planes.div_ceil(some), Chunks::new(y, some * size), |task, y| {
            let mut padded = vec![T::ZERO; self.padding.plane + LANES];
            let most = self.passes.iter().map(|(_, vectors)| vectors.length()).max();
            let mut sums = buffer::<T>(most.unwrap_or(0));
            let mut weights = Vec::with_capacity(self.taps);
            let x = x[task * some * self.padding.source..].chunks_exact(self.padding.source);
            for (at, (x, y)) in x.zip(y.chunks_exact_mut(size)).enumerate() {
                let channel = (task * some + at) % self.channels;
                let kernel = &weight[channel * self.taps..][..self.taps];
                self.padding.fill(x, &mut padded);
                for (pass, vectors) in &self.passes {
                    weights.clear();
                    weights.extend(pass.taps.iter().map(|tap| kernel[*tap]));
                    let sums = &mut sums[..vectors.length()];
                    dispatch!(I => {
                        vectors.sums::<I, T>(&padded, &weights, &pass.offsets, sums);
                        pass.put(sums, vectors.row, target.update, self.plane[1], y);
                    });
                }
                target.finish(channel, y);
            }
        });
    }
}

/// The rows of a pass in whole vectors.
struct Vectors {
    /// Elements from one row of vectors to the next.
    row: usize,
    /// Where in a padded plane each vector begins; the last ones may be there again, to fill the count.
    starts: Vec<[usize; VECTORS]>,
    /// One past the last element of a padded plane that a vector reads.
    end: usize,
}

impl Vectors {
    fn new(pass: &Pass) -> Self {
        let per_row = pass.columns.div_ceil(LANES);
        let all = pass.rows * per_row;
        let start = |at: usize| {
            let at = at.min(all - 1);
            at / per_row * pass.row_step + at % per_row * LANES
        };
        let furthest = pass.offsets.iter().max().copied().unwrap_or(0);
        let starts = (0..all.div_ceil(VECTORS))
            .map(|block| std::array::from_fn(|at| start(block * VECTORS + at)))
            .collect();
        Self { row: per_row * LANES, starts, end: start(all - 1) + furthest + LANES }
    }

    /// The elements of all vectors.
    fn length(&self) -> usize {
        self.starts.len() * VECTORS * LANES
    }

    /// For each element of the vectors the sum of what the taps read, times their weights.
    #[inline(always)]
    fn sums<I: Isa, T: Element>(&self, x: &[T], weights: &[T], offsets: &[usize], sums: &mut [T]) {
        assert!(self.end <= x.len(), "the reach of a vector");
        let sums = sums.as_chunks_mut::<LANES>().0.as_chunks_mut::<VECTORS>().0;
        for (starts, sums) in self.starts.iter().zip(sums) {
            let mut lanes = [[T::ZERO; LANES]; VECTORS];
            for (weight, offset) in weights.iter().zip(offsets) {
                for (lanes, start) in lanes.iter_mut().zip(starts) {
                    // SAFETY: within x, as asserted for the vector that ends last.
                    let x = unsafe { read(x, start + offset) };
                    for lane in 0..LANES {
                        lanes[lane] = x[lane].fma::<I>(*weight, lanes[lane]);
                    }
                }
            }
            *sums = lanes;
        }
    }
}

/// The vector at a place of `x`.
///
/// # Safety
/// It is within `x`.
#[inline(always)]
unsafe fn read<T: Element>(x: &[T], at: usize) -> [T; LANES] {
    debug_assert!(at + LANES <= x.len());
    // SAFETY: as the caller promises.
    unsafe { x.as_ptr().add(at).cast::<[T; LANES]>().read_unaligned() }
}

/// The gradient of the kernel.
///
/// A task sums the products of some images, in their order in memory; its sums are added in the order of the tasks.
pub(crate) fn weights<T: Element>(
    shape: &Convolution,
    x: &[T],
    g: &[T],
    gradient: &mut [T],
    update: Update,
) {
    let (padding, passes) = passes::correlate(shape);
    let Some(pass) = passes.first() else { return };
    let vectors = Vectors::new(pass);
    let (taps, plane) = (pass.taps.len(), shape.output_plane());
    // Few small images are not worth a second thread.
    let image = shape.inputs * padding.plane * taps.div_ceil(VECTORS);
    let images = work::rows(shape.batch, image).max(shape.batch.div_ceil(TASKS));
    let tasks = shape.batch.div_ceil(images);
    let size = shape.inputs * taps;
    let mut sums = vec![[T::ZERO; LANES]; tasks * size];
    threads::each(tasks, Chunks::new(&mut sums, size), |task, sums| {
        let mut padded = vec![T::ZERO; padding.plane + LANES];
        // What is in no row stays 0.
        let mut staged = vec![T::ZERO; vectors.length()];
        for image in task * images..((task + 1) * images).min(shape.batch) {
            for (channel, sums) in sums.chunks_exact_mut(taps.max(1)).enumerate() {
                let at = image * shape.inputs + channel;
                let x = &x[at * padding.source..][..padding.source];
                let g = &g[at * plane..][..plane];
                padding.fill(x, &mut padded);
                dispatch!(I => {
                    stage(g, pass.columns, vectors.row, &mut staged);
                    products::<I, T>(&padded, &staged, pass, &vectors, sums);
                });
            }
        }
    });
    if update == Update::Replace {
        gradient.fill(T::ZERO);
    }
    for sums in sums.chunks_exact(size.max(1)) {
        let channels = gradient.chunks_exact_mut(shape.taps()).zip(sums.chunks_exact(taps.max(1)));
        for (gradient, sums) in channels {
            pass.taps.iter().zip(sums).for_each(|(tap, sum)| gradient[*tap] += total(*sum));
        }
    }
}

/// Rows of `columns` elements to rows of whole vectors.
#[inline(always)]
fn stage<T: Element>(g: &[T], columns: usize, row: usize, staged: &mut [T]) {
    for (g, staged) in g.chunks_exact(columns).zip(staged.chunks_exact_mut(row)) {
        passes::copy(g, 1, &mut staged[..columns]);
    }
}

/// Adds Σ over the places of g · x to the lanes of each tap.
#[inline(always)]
fn products<I: Isa, T: Element>(
    x: &[T],
    g: &[T],
    pass: &Pass,
    vectors: &Vectors,
    lanes: &mut [[T; LANES]],
) {
    assert!(vectors.end <= x.len(), "the reach of a vector");
    // Without those that fill the count.
    let count = pass.rows * vectors.row / LANES;
    let g = &g.as_chunks::<LANES>().0[..count];
    for (lanes, offsets) in lanes.chunks_mut(TAPS).zip(pass.offsets.chunks(TAPS)) {
        // The last tap of a shorter chunk is there again.
        let offsets: [usize; TAPS] = std::array::from_fn(|tap| offsets[tap.min(offsets.len() - 1)]);
        let mut sums = [[T::ZERO; LANES]; TAPS];
        for (start, g) in vectors.starts.as_flattened().iter().zip(g) {
            for (sums, offset) in sums.iter_mut().zip(offsets) {
                // SAFETY: within x, as asserted for the vector that ends last.
                let x = unsafe { read(x, start + offset) };
                for lane in 0..LANES {
                    sums[lane] = x[lane].fma::<I>(g[lane], sums[lane]);
                }
            }
        }
        for (lanes, sums) in lanes.iter_mut().zip(sums) {
            lanes.iter_mut().zip(sums).for_each(|(lane, sum)| *lane += sum);
        }
    }
}

/// Adds the lanes in halves.
fn total<T: Element>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}
