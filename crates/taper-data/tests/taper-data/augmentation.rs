use std::collections::BTreeMap;

use candle_core::{DType, Device};
use proptest::prelude::*;
use taper_core::{Result, stream};
use taper_data::{
    Augmentation, Batches, BatchesConfig, ImageDataset, Pixels, centre_cropped, digits,
};

const SHAPE: [usize; 3] = [2, 3, 4];

/// `n` images of two channels of 3 x 4 pixels, none of which is 0; the label of each is its index.
fn images(n: usize) -> ImageDataset {
    let bytes = (0..n * 24).map(|at| (at % 24 + 1) as u8).collect();
    ImageDataset::new(bytes, SHAPE, 255, (0..n as u32).collect(), n as u32).unwrap()
}

fn batches(
    dataset: &ImageDataset,
    indices: &[usize],
    batch_size: usize,
    augmentations: &[Augmentation],
) -> Batches {
    let augmentations = augmentations.to_vec();
    let config = BatchesConfig { batch_size, augmentations, ..Default::default() };
    Batches::new(dataset, indices, config, stream(5, "shuffle"), &Device::Cpu).unwrap()
}

/// The labels and the bytes of the images of the next batch.
fn next(batches: &mut Batches) -> Vec<(u32, Vec<u8>)> {
    let (images, labels) = batches.next_batch().unwrap();
    let images = images.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
    let bytes = |image: Vec<f32>| image.iter().map(|x| (x * 255.0).round() as u8).collect();
    labels.to_vec1().unwrap().into_iter().zip(images.into_iter().map(bytes)).collect()
}

/// How often each result comes in 1000 draws.
fn results(augmentation: Augmentation) -> BTreeMap<Vec<u8>, usize> {
    let dataset = images(1000);
    let mut counts = BTreeMap::new();
    let changed = next(&mut batches(&dataset, &dataset.indices(), 1000, &[augmentation]));
    changed.into_iter().for_each(|(_, image)| *counts.entry(image).or_default() += 1);
    counts
}

/// An image of `shape` whose pixels are those of [`images`] at the channel, row and column that `source` tells, or 0.
fn image(
    [channels, height, width]: [usize; 3],
    source: impl Fn(isize, isize) -> Option<(isize, isize)>,
) -> Vec<u8> {
    let pixel = |channel: usize, row: usize, column: usize| {
        let from = source(row as isize, column as isize)
            .filter(|(row, column)| (0..3).contains(row) && (0..4).contains(column));
        from.map_or(0, |(row, column)| (channel as isize * 12 + row * 4 + column + 1) as u8)
    };
    let places = (0..channels * height * width).map(|at| (at / width, at % width));
    places.map(|(row, column)| pixel(row / height, row % height, column)).collect()
}

/// The draws are spread over these results as even draws are; a result that stands here twice comes twice as often.
fn assert_even(augmentation: Augmentation, expected: impl Iterator<Item = Vec<u8>>) {
    let mut weights = BTreeMap::<_, f64>::new();
    expected.for_each(|image| *weights.entry(image).or_default() += 1.0);
    let draw = 1000.0 / weights.values().sum::<f64>();
    let counts = results(augmentation);
    assert!(counts.keys().eq(weights.keys()), "{augmentation:?}: {counts:?}");
    for (image, count) in counts {
        let mean = draw * weights[&image];
        let off = (count as f64 - mean) / mean.sqrt();
        assert!(off.abs() < 5.0, "{augmentation:?}: {count} of {mean}: {image:?}");
    }
}

#[test]
fn a_shift_moves_to_each_place_alike_and_lets_zeros_in() {
    let shifts =
        |by: isize| (-by..=by).flat_map(move |down| (-by..=by).map(move |right| (down, right)));
    for by in 0..3 {
        let expected = shifts(by as isize)
            .map(|(down, right)| image(SHAPE, |row, column| Some((row - down, column - right))));
        assert_even(Augmentation::Shift(by), expected);
    }
}

#[test]
fn a_flip_swaps_left_and_right_half_of_the_time() {
    let expected = [false, true].map(|flip| {
        image(SHAPE, |row, column| Some((row, if flip { 3 - column } else { column })))
    });
    assert_even(Augmentation::Flip, expected.into_iter());
}

#[test]
fn a_crop_is_each_window_alike() {
    for (height, width) in [(2, 2), (1, 4), (3, 1), (3, 4)] {
        let places = (0..=3 - height).flat_map(|top| (0..=4 - width).map(move |left| (top, left)));
        let expected = places.map(|(top, left)| {
            let place = move |row, column| Some((row + top as isize, column + left as isize));
            image([2, height, width], place)
        });
        assert_even(Augmentation::Crop { height, width }, expected);
    }
}

#[test]
fn a_cut_out_square_has_its_centre_anywhere() {
    for side in [0, 1, 2, 3, 4, 7, usize::MAX] {
        let centres = (0..12).map(|at| (at / 4, at % 4));
        let expected = centres.map(|(row, column)| {
            // From the centre back by half the side, rounded down, and on by what is left of it.
            let cut = |at: isize, centre: isize| {
                let (back, on) = (side / 2, side - side / 2);
                at >= centre.saturating_sub_unsigned(back)
                    && at < centre.saturating_add_unsigned(on)
            };
            image(SHAPE, |y, x| (!(cut(y, row) && cut(x, column))).then_some((y, x)))
        });
        assert_even(Augmentation::CutOut(side), expected);
    }
    // By hand: a square of 2 in the corner leaves of 12 pixels 11, one at the far corner 8.
    let left = |image: &Vec<u8>| image[..12].iter().filter(|pixel| **pixel > 0).count();
    let counts: std::collections::BTreeSet<_> =
        results(Augmentation::CutOut(2)).keys().map(left).collect();
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [8, 10, 11]);
}

#[test]
fn an_image_is_changed_by_its_epoch_and_index_alone() {
    let all = [
        Augmentation::Shift(1),
        Augmentation::Flip,
        Augmentation::Crop { height: 2, width: 3 },
        Augmentation::CutOut(1),
    ];
    let dataset = images(40);
    let changed = |indices: &[usize], batch_size| {
        let mut batches = batches(&dataset, indices, batch_size, &all);
        let mut epochs = Vec::new();
        for _ in 0..3 {
            let each = (0..batches.batches_per_epoch()).flat_map(|_| next(&mut batches));
            epochs.push(each.collect::<BTreeMap<_, _>>());
        }
        epochs
    };
    let whole = changed(&dataset.indices(), 40);
    assert_eq!(whole, changed(&dataset.indices(), 7));
    // Fewer images, in another order.
    let few: Vec<usize> = (0..40).rev().step_by(3).collect();
    for (whole, few) in whole.iter().zip(changed(&few, 5)) {
        assert_eq!(few.len(), 14);
        assert!(few.iter().all(|(index, image)| whole[index] == *image));
    }
    assert_ne!(whole[0], whole[1]);
    assert_ne!(whole[1], whole[2]);
    // The images are the same before: each draws for itself.
    let different: std::collections::BTreeSet<_> = whole[0].values().collect();
    assert!(different.len() > 20, "{}", different.len());
}

#[test]
fn augmentations_are_applied_in_order_and_leave_the_order_of_images_alone() {
    let dataset = images(30);
    let labels = |augmentations: &[Augmentation]| -> Vec<u32> {
        let mut batches = batches(&dataset, &dataset.indices(), 10, augmentations);
        (0..6).flat_map(|_| next(&mut batches)).map(|(label, _)| label).collect()
    };
    let plain = labels(&[]);
    assert_eq!(plain, labels(&[Augmentation::Flip, Augmentation::CutOut(2)]));
    // The order is that of the stream's own shuffles.
    let (mut order, mut shuffle) = (dataset.indices(), stream(5, "shuffle"));
    for epoch in plain.chunks(30) {
        shuffle.shuffle(&mut order);
        assert!(
            epoch.iter().eq(order.iter().map(|index| *index as u32).collect::<Vec<_>>().iter())
        );
    }

    // A shift after a crop lets zeros in, one before it leaves some out.
    let zeros = |augmentations: &[Augmentation]| {
        let changed = next(&mut batches(&dataset, &dataset.indices(), 30, augmentations));
        changed.iter().flat_map(|(_, image)| image).filter(|pixel| **pixel == 0).count()
    };
    let (shift, crop) = (Augmentation::Shift(1), Augmentation::Crop { height: 2, width: 2 });
    assert!(zeros(&[crop, shift]) > zeros(&[shift, crop]));
    assert!(zeros(&[shift, crop]) > 0);
}

proptest! {
    #[test]
    fn goes_on_to_the_bit(n in 1usize..9, batch_size in 1usize..10, seed: u64) {
        let dataset = images(n);
        let build = |seed| {
            let config = BatchesConfig {
                batch_size,
                augmentations: vec![Augmentation::Shift(2), Augmentation::Flip, Augmentation::CutOut(2)],
                ..Default::default()
            };
            Batches::new(&dataset, &dataset.indices(), config, stream(seed, "shuffle"), &Device::Cpu).unwrap()
        };
        crate::batches::goes_on(build, seed);
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let dataset = images(1);
    let error = |augmentations: &[Augmentation]| {
        let augmentations = augmentations.to_vec();
        let config = BatchesConfig { augmentations, ..Default::default() };
        let batches = Batches::new(&dataset, &[0], config, stream(5, "shuffle"), &Device::Cpu);
        batches.unwrap_err().to_string()
    };
    let crop = |height, width| Augmentation::Crop { height, width };
    for (augmentations, expected) in [
        (&[Augmentation::Shift(3)][..], "a shift below 3, the shorter side, got 3"),
        (&[crop(4, 4)], "a crop of 1x1 to 3x4 pixels, got 4x4"),
        (&[crop(3, 5)], "a crop of 1x1 to 3x4 pixels, got 3x5"),
        (&[crop(0, 4)], "a crop of 1x1 to 3x4 pixels, got 0x4"),
        (&[crop(2, 2), crop(2, 3)], "a crop of 1x1 to 2x2 pixels, got 2x3"),
        (&[crop(1, 4), Augmentation::Shift(1)], "a shift below 1, the shorter side, got 1"),
    ] {
        let expected = format!("Batches::new: augmentations should be {expected}");
        assert_eq!(error(augmentations), expected);
    }
}

#[test]
fn tensors_have_the_shape_that_is_left() {
    let dataset = images(3);
    for (pixels, shape) in [(Pixels::Flat, &[3, 12][..]), (Pixels::Image, &[3, 2, 2, 3])] {
        let config = BatchesConfig {
            pixels,
            dtype: DType::F64,
            augmentations: vec![Augmentation::Crop { height: 2, width: 3 }],
            ..Default::default()
        };
        let stream = stream(5, "shuffle");
        let mut batches =
            Batches::new(&dataset, &dataset.indices(), config, stream, &Device::Cpu).unwrap();
        let (images, labels) = batches.next_batch().unwrap();
        assert_eq!((images.dims(), images.dtype()), (shape, DType::F64));
        assert_eq!(labels.dims(), [3]);
    }
}

#[test]
fn the_middle_is_what_is_left() -> Result<()> {
    let dataset = images(2);
    let cropped = centre_cropped(&dataset, 1, 3)?;
    assert_eq!(cropped.shape(), [2, 1, 3]);
    // The middle row begins at 5 in the first channel, at 17 in the second; of one column too many, the last goes.
    assert_eq!(cropped.images(), [5, 6, 7, 17, 18, 19, 5, 6, 7, 17, 18, 19]);
    assert_eq!((cropped.labels(), cropped.max_value()), (dataset.labels(), 255));
    let digits = digits()?;
    assert_eq!(centre_cropped(&digits, 8, 8)?, digits);
    for (height, width, expected) in [
        (0, 1, "height should be from 1 to 3, the images' height, got 0"),
        (3, 5, "width should be from 1 to 4, the images' width, got 5"),
    ] {
        let message = centre_cropped(&dataset, height, width).unwrap_err().to_string();
        assert_eq!(message, format!("centre_cropped: {expected}"));
    }
    Ok(())
}
