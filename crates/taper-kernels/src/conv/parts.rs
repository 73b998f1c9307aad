//! Sums over the images of a batch in a fixed number of parts.

use std::ops::Range;

use super::geometry::Convolution;
use crate::isa::dispatch;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// The most parts: as many tasks as there can be.
const MOST: usize = 16;
/// Elements that the parts may hold together.
const ROOM: usize = 1 << 22;

/// How many parts a batch is cut into, and how many images each has.
fn cut(shape: &Convolution, images: usize) -> (usize, usize) {
    let fitting = (ROOM / shape.weights().max(1)).clamp(1, MOST);
    let blocks = shape.batch.div_ceil(images);
    let per_part = blocks.div_ceil(fitting) * images;
    (shape.batch.div_ceil(per_part), per_part)
}

/// `gradient` = (or +=) Σ over the batch, where `add(range, sum, update)` writes or adds the sum over at most
/// `images` images. The parts are summed in their order.
pub(crate) fn sum<T: Element>(
    shape: &Convolution,
    images: usize,
    gradient: &mut [T],
    update: Update,
    add: impl Fn(Range<usize>, &mut [T], Update) + Sync,
) {
    let (parts, per_part) = cut(shape, images);
    let part = |index: usize, sum: &mut [T], mut update: Update| {
        let end = ((index + 1) * per_part).min(shape.batch);
        for start in (index * per_part..end).step_by(images) {
            add(start..(start + images).min(end), sum, update);
            update = Update::Add;
        }
    };
    if parts == 1 {
        return part(0, gradient, update);
    }
    let size = gradient.len();
    let mut sums = buffer::<T>(parts * size);
    threads::each(parts, Chunks::new(&mut sums, size), |index, sum| {
        part(index, sum, Update::Replace);
    });
    let strip = work::block(size);
    threads::each(size.div_ceil(strip), Chunks::new(gradient, strip), |at, gradient| {
        for index in 0..parts {
            let sum = &sums[index * size + at * strip..][..gradient.len()];
            if index == 0 && update == Update::Replace {
                gradient.copy_from_slice(sum);
            } else {
                dispatch!(_I => gradient.iter_mut().zip(sum).for_each(|(to, sum)| *to += *sum));
            }
        }
    });
}
