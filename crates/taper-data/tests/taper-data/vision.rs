use candle_core::{DType, Device, Tensor};
use candle_datasets::vision::Dataset;
use taper_core::stream;
use taper_data::{ImageDataset, Pixels, digits, stratified_split};

#[test]
fn goes_to_candle_and_back() {
    let digits = digits().unwrap();
    let mut stream = stream(1, "split");
    let split = stratified_split(digits.labels(), &digits.indices(), 0.8, &mut stream).unwrap();
    for (pixels, dims) in [(Pixels::Flat, &[1438, 64][..]), (Pixels::Image, &[1438, 1, 8, 8])] {
        let vision = digits.to_vision(&split, pixels).unwrap();
        assert_eq!(vision.train_images.dims(), dims);
        assert_eq!(vision.train_labels.dtype(), DType::U8);
        assert_eq!(vision.labels, 10);
        let (back, parts) = ImageDataset::from_vision(&vision, [1, 8, 8], 16).unwrap();
        // The training part comes first now; image by image it is the same.
        for (ours, theirs) in [(&split.train, &parts.train), (&split.test, &parts.test)] {
            assert_eq!(ours.len(), theirs.len());
            for (a, b) in ours.iter().zip(theirs) {
                assert_eq!(digits.labels()[*a], back.labels()[*b]);
                assert_eq!(digits.images()[a * 64..][..64], back.images()[b * 64..][..64]);
            }
        }
    }
}

fn vision(images: &[f32], dims: &[usize], labels: &[i64]) -> Dataset {
    let images = Tensor::from_slice(images, dims, &Device::Cpu).unwrap();
    let labels = Tensor::from_slice(labels, labels.len(), &Device::Cpu).unwrap();
    Dataset {
        train_images: images.clone(),
        train_labels: labels.clone(),
        test_images: images,
        test_labels: labels,
        labels: 3,
    }
}

#[test]
fn every_byte_comes_back_from_half_precision() {
    let images: Vec<f32> = (0..=255u8).map(|value| f32::from(value) / 255.0).collect();
    let mut vision = vision(&images, &[1, 256], &[2]);
    vision.train_images = vision.train_images.to_dtype(DType::F16).unwrap();
    let (dataset, _) = ImageDataset::from_vision(&vision, [1, 16, 16], 255).unwrap();
    assert_eq!(dataset.images()[..256], (0..=255u8).collect::<Vec<_>>());
}

#[test]
fn refuses_what_bytes_cannot_hold() {
    let from = |images: &[f32], dims: &[usize], labels: &[i64]| {
        let dataset = ImageDataset::from_vision(&vision(images, dims, labels), [1, 1, 2], 4);
        dataset.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(from(&[0.0, 1.0], &[1, 2], &[2]), Ok(()));
    for (result, expected) in [
        (
            from(&[0.0, 1.25], &[1, 2], &[0]),
            "train_images should be a multiple of 1/4 in [0, 1], got 1.25 in image 0",
        ),
        (from(&[0.0, -0.25], &[1, 2], &[0]), "got -0.25"),
        (from(&[0.0, 0.1], &[1, 2], &[0]), "got 0.1"),
        (from(&[0.0, f32::NAN], &[1, 2], &[0]), "got NaN"),
        (
            from(&[0.0, 1.0], &[1, 1, 2], &[0]),
            "train_images should be (N, 1·1·2) or (N, 1, 1, 2), got [1, 1, 2]",
        ),
        (from(&[0.0, 1.0], &[2, 1], &[0]), "got [2, 1]"),
        (from(&[0.0, 1.0], &[1, 2], &[0, 1]), "as many as images"),
        (from(&[0.0, 1.0], &[1, 2], &[-1]), "train_labels should be at least 0, got -1"),
        (from(&[0.0, 1.0], &[1, 2], &[3]), "labels should be below 3, got 3"),
    ] {
        let message = result.unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}
