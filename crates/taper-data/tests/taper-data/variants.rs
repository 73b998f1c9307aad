use candle_core::{DType, Device, Tensor};
use taper_core::{Result, stream};
use taper_data::{
    Binarization, ImageDataset, binarize, binarized, digits, on_noise, on_patches, rotated,
};

/// A disc that is brighter on one side, on 21 x 21 pixels, 40 times over.
fn discs() -> ImageDataset {
    let pixel = |at: usize| {
        let (y, x) = ((at / 21) as f64 - 10.0, (at % 21) as f64 - 10.0);
        if y.hypot(x) < 8.0 { (150.0 + 10.0 * x) as u8 } else { 0 }
    };
    let images = (0..40 * 441).map(|at| pixel(at % 441)).collect();
    ImageDataset::new(images, [1, 21, 21], 255, vec![0; 40], 1).unwrap()
}

/// The center of mass of an image's pixels, from the middle.
fn center(image: &[u8]) -> (f64, f64) {
    let (mut sum, mut y, mut x) = (0.0, 0.0, 0.0);
    for (at, pixel) in image.iter().enumerate() {
        let weight = f64::from(*pixel);
        sum += weight;
        y += weight * ((at / 21) as f64 - 10.0);
        x += weight * ((at % 21) as f64 - 10.0);
    }
    (y / sum, x / sum)
}

#[test]
fn images_turn_about_their_middle_to_all_sides() -> Result<()> {
    let discs = discs();
    let turned = rotated(&discs, &stream(1, "turned"))?;
    let (_, reach) = center(&discs.images()[..441]);
    let mut sides = [0; 4];
    for image in turned.images().chunks_exact(441) {
        let (y, x) = center(image);
        // The disc keeps its light, and the bright side its distance.
        assert!((y.hypot(x) / reach - 1.0).abs() < 0.02, "{y} {x}");
        sides[usize::from(y > 0.0) + 2 * usize::from(x > 0.0)] += 1;
        let light = |image: &[u8]| image.iter().map(|pixel| f64::from(*pixel)).sum::<f64>();
        assert!((light(image) / light(&discs.images()[..441]) - 1.0).abs() < 0.01);
    }
    // Each quarter has 10 of 40, with a standard deviation of 2.7.
    assert!(sides.iter().all(|count| *count > 1), "{sides:?}");
    Ok(())
}

#[test]
fn an_image_is_changed_by_its_own_place_alone() -> Result<()> {
    let digits = digits()?;
    let few = ImageDataset::new(
        digits.images()[..640].to_vec(),
        digits.shape(),
        16,
        digits.labels()[..10].to_vec(),
        10,
    )?;
    let variants: [fn(&ImageDataset) -> Result<ImageDataset>; 3] = [
        |dataset| rotated(dataset, &stream(3, "variant")),
        |dataset| on_noise(dataset, &stream(3, "variant")),
        |dataset| binarized(dataset, Binarization::Sampled, &stream(3, "variant")),
    ];
    for variant in variants {
        let (all, part) = (variant(&digits)?, variant(&few)?);
        assert_eq!(all.images()[..640], *part.images());
        assert_ne!(all.images(), digits.images());
        assert_eq!((all.labels(), all.classes(), all.max_value()), (digits.labels(), 10, 16));
    }
    Ok(())
}

#[test]
fn noise_and_patches_lie_behind() -> Result<()> {
    let digits = digits()?;
    let noisy = on_noise(&digits, &stream(1, "noise"))?;
    let pairs = || digits.images().iter().zip(noisy.images());
    assert!(pairs().all(|(pixel, noisy)| noisy >= pixel));
    // Behind black pixels there is an even number from 0 to 16.
    let behind: Vec<f64> =
        pairs().filter(|(pixel, _)| **pixel == 0).map(|(_, noisy)| f64::from(*noisy)).collect();
    let mean = behind.iter().sum::<f64>() / behind.len() as f64;
    assert!((mean - 8.0).abs() < 5.0 * 24f64.sqrt() / (behind.len() as f64).sqrt(), "{mean}");

    // A black image shows what is behind it: a part of the one picture, whose pixels tell where it was.
    let picture = ImageDataset::new((0..12).collect(), [1, 3, 4], 16, vec![0], 1)?;
    let black = ImageDataset::new(vec![0; 60 * 4], [1, 2, 2], 16, vec![0; 60], 1)?;
    let on = on_patches(&black, &picture, &stream(1, "patches"))?;
    let mut corners = std::collections::BTreeSet::new();
    for patch in on.images().chunks_exact(4) {
        assert_eq!(patch, [0, 1, 4, 5].map(|at| patch[0] + at));
        corners.insert(patch[0]);
    }
    assert_eq!(corners.into_iter().collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6]);
    let message = on_patches(&picture, &black, &stream(1, "patches")).unwrap_err().to_string();
    assert!(message.contains("of 1 channels, at least 3 rows and 4 columns"), "{message}");
    Ok(())
}

#[test]
fn pixels_become_one_as_often_as_they_are_bright() -> Result<()> {
    let dataset = ImageDataset::new(vec![4; 4000], [1, 1, 1], 16, vec![0; 4000], 1)?;
    let sampled = binarized(&dataset, Binarization::Sampled, &stream(1, "binary"))?;
    let on = sampled.images().iter().filter(|pixel| **pixel == 16).count();
    assert!(sampled.images().iter().all(|pixel| [0, 16].contains(pixel)));
    // 1000 of 4000, within five standard deviations of 27.
    assert!(on.abs_diff(1000) < 137, "{on}");
    for (threshold, expected) in [(0.2, 16), (0.25, 0), (0.0, 16)] {
        let binary = binarized(&dataset, Binarization::Threshold(threshold), &stream(1, "binary"))?;
        assert!(binary.images().iter().all(|pixel| *pixel == expected));
    }
    let message = binarized(&dataset, Binarization::Threshold(1.0), &stream(1, "binary"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("threshold should be from 0 to below 1, got 1"), "{message}");

    let mut stream = stream(1, "batch");
    let batch = Tensor::full(0.25f32, (40, 100), &Device::Cpu)?;
    let (first, second) = (binarize(&batch, &mut stream)?, binarize(&batch, &mut stream)?);
    let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
    assert_ne!(values(&first)?, values(&second)?);
    assert!(values(&first)?.iter().all(|value| [0.0, 1.0].contains(value)));
    assert!((values(&first)?.iter().sum::<f32>() - 1000.0).abs() < 137.0);
    assert_eq!((first.dims(), first.dtype()), (batch.dims(), DType::F32));
    for (wrong, expected) in [
        ((&batch * 5.0)?, "pixels from 0 to 1, got 1.25"),
        (batch.to_dtype(DType::U8)?, "floating-point, got U8"),
    ] {
        let message = binarize(&wrong, &mut stream).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    Ok(())
}
