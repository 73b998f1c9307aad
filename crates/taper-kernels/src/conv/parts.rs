//! Sums over the images of a batch in a fixed number of parts.

use std::ops::Range;

use super::geometry::Convolution;
use crate::isa::dispatch;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, buffer, work};

/// The most parts: as many tasks as there can be.
const MOST: usize = 8;
/// Elements that the parts may hold together.
const ROOM: usize = 1 << 23;

/// `gradient` = (or +=) Σ over the batch, where `part(images, sum, update)` writes or adds the sum over some
/// images. The parts are summed in their order.
pub(crate) fn sum<T: Element>(
    shape: &Convolution,
    gradient: &mut [T],
    update: Update,
    part: impl Fn(Range<usize>, &mut [T], Update) + Sync,
) {
    let fitting = (ROOM / shape.weights().max(1)).clamp(1, MOST);
    let images = shape.batch.div_ceil(fitting);
    let parts = shape.batch.div_ceil(images);
    let range = |index: usize| index * images..((index + 1) * images).min(shape.batch);
    if parts == 1 {
        return part(range(0), gradient, update);
    }
    let size = gradient.len();
    let mut sums = buffer::<T>(parts * size);
    threads::each(parts, Chunks::new(&mut sums, size), |index, sum| {
        part(range(index), sum, Update::Replace);
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
