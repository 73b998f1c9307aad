//! The files that makers of data sets gave out, made again from what was decoded: their public MD5 sums prove a content.

use md5::{Digest, Md5};

use crate::ImageDataset;
use crate::card::{Card, Original, Part};
use crate::disk::hex;

/// Whether the decoded `dataset`, of the card's shape, is what the makers gave out as this part; `None` where the card has
/// no sums to tell.
///
/// The batches of CIFAR-10 may come in any order, as they do in its archives.
pub(crate) fn is_original(card: &Card, part: &Part, dataset: &ImageDataset) -> Option<bool> {
    if part.original_md5.is_empty() {
        return None;
    }
    let mut sums = match card.original? {
        Original::Idx => idx(dataset),
        Original::Cifar10 => cifar10(dataset, part.original_md5.len()),
        // The superclass before each label is not kept.
        Original::Cifar100 => return None,
    };
    let mut known = part.original_md5.clone();
    sums.sort();
    known.sort();
    Some(sums == known)
}

/// The sums of the file of images and the file of labels.
fn idx(dataset: &ImageDataset) -> Vec<String> {
    let [_, height, width] = dataset.shape();
    let big = |numbers: &[usize]| -> Vec<u8> {
        numbers.iter().flat_map(|number| (*number as u32).to_be_bytes()).collect()
    };
    let labels: Vec<u8> = dataset.labels().iter().map(|label| *label as u8).collect();
    [
        (3, big(&[dataset.len(), height, width]), dataset.images()),
        (1, big(&[dataset.len()]), &labels),
    ]
    .map(|(dimensions, sizes, elements)| {
        let mut hasher = Md5::new();
        hasher.update([0, 0, 8, dimensions]);
        hasher.update(sizes);
        hasher.update(elements);
        hex(&hasher.finalize())
    })
    .to_vec()
}

/// The sums of so many batches of equal size.
fn cifar10(dataset: &ImageDataset, batches: usize) -> Vec<String> {
    let pixels: usize = dataset.shape().iter().product();
    let batch = dataset.len().div_ceil(batches).max(1);
    let each = dataset.images().chunks(batch * pixels).zip(dataset.labels().chunks(batch));
    each.map(|(images, labels)| {
        let mut hasher = Md5::new();
        for (image, label) in images.chunks_exact(pixels).zip(labels) {
            hasher.update([*label as u8]);
            hasher.update(image);
        }
        hex(&hasher.finalize())
    })
    .collect()
}
