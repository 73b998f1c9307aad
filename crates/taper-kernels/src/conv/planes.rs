//! Sums over the planes of images, for gradients of biases.

use crate::isa::dispatch;
use crate::lanes::sum;
use crate::matmul::Update;
use crate::threads::{self, Chunks};
use crate::{Element, work};

/// `sums` = (or +=) Σ over images and elements of each channel of `x` (batch, channels, plane).
pub(crate) fn add_sums<T: Element>(
    x: &[T],
    channels: usize,
    plane: usize,
    sums: &mut [T],
    update: Update,
) {
    if channels == 0 || plane == 0 {
        return;
    }
    let per_task = work::rows(channels, x.len() / channels);
    threads::each(channels.div_ceil(per_task), Chunks::new(sums, per_task), |task, sums| {
        for (at, place) in sums.iter_mut().enumerate() {
            let channel = task * per_task + at;
            let images = x.chunks_exact(channels * plane);
            let total: f64 = images
                .map(|image| {
                    let plane = &image[channel * plane..][..plane];
                    dispatch!(_I => sum(plane)).to_f64()
                })
                .sum();
            let total = T::of(total);
            *place = if update == Update::Add { *place + total } else { total };
        }
    });
}
