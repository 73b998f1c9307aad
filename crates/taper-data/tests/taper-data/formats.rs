use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use taper_core::Result;
use taper_data::formats::{Cifar, read_cifar, read_idx};

/// Two images of 2x3.
const IMAGES: &[u8] = &[
    0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6, 250, 251, 252, 253, 254, 255,
];
const LABELS: &[u8] = &[0, 0, 8, 1, 0, 0, 0, 2, 9, 0];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn idx_error(images: &[u8], labels: &[u8]) -> String {
    read_idx(images, labels, 10).unwrap_err().to_string()
}

#[test]
fn idx_files_are_read_plain_and_packed() -> Result<()> {
    let packed = (gzip(IMAGES), gzip(LABELS));
    for (images, labels) in [(IMAGES, LABELS), (&packed.0[..], &packed.1[..]), (IMAGES, &packed.1)]
    {
        let dataset = read_idx(images, labels, 10)?;
        assert_eq!((dataset.shape(), dataset.labels()), ([1, 2, 3], &[9, 0][..]));
        assert_eq!(dataset.images(), &IMAGES[16..]);
    }
    Ok(())
}

#[test]
fn an_idx_file_that_is_cut_off_anywhere_is_an_error() {
    let (images, labels) = (gzip(IMAGES), gzip(LABELS));
    for length in 0..IMAGES.len() {
        assert!(idx_error(&IMAGES[..length], LABELS).contains("where the file ends"));
    }
    for length in 0..LABELS.len() {
        assert!(idx_error(IMAGES, &LABELS[..length]).contains("the file of labels"));
    }
    // The last 8 bytes of gzip are its checksum and length.
    for length in 0..images.len() {
        assert!(idx_error(&images[..length], &labels).contains("the file of images"), "{length}");
    }
}

#[test]
fn an_idx_header_is_not_believed() {
    let header = |dimensions: [u32; 3]| {
        let mut bytes = vec![0, 0, 8, 3];
        dimensions.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.push(0);
        bytes
    };
    // Memory grows with the bytes that are there: these fail at once.
    for (dimensions, expected) in [
        ([u32::MAX; 3], "dimensions of at least 1 that fit memory"),
        ([0, 2, 2], "dimensions of at least 1"),
        ([u32::MAX, 28, 28], "at most 4294967296 bytes"),
        ([5_000_000, 28, 28], "3920000000 bytes, got 1, where the file ends"),
    ] {
        let message = idx_error(&header(dimensions), LABELS);
        assert!(message.contains(expected), "{message}");
    }
    for at in 0..4 {
        let mut images = IMAGES.to_vec();
        images[at] ^= 1;
        assert!(idx_error(&images, LABELS).contains("to begin with [0, 0, 8, 3]"));
    }
    assert!(idx_error(LABELS, IMAGES).contains("got [0, 0, 8, 1]"));
    assert!(idx_error(b"<!DOCTYPE html><html>", LABELS).contains("got [60, 33, 68, 79]"));
}

#[test]
fn an_idx_pair_has_to_fit() {
    assert!(idx_error(&[IMAGES, &[0]].concat(), LABELS).contains("nothing after the last"));
    let three = [0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3];
    assert!(idx_error(IMAGES, &three).contains("2 labels, one an image, got 3"));
    let out_of_range = [0, 0, 8, 1, 0, 0, 0, 2, 1, 10];
    assert!(idx_error(IMAGES, &out_of_range).contains("below 10, got 10 for image 1"));
}

#[test]
fn cifar_files_are_read_upright() -> Result<()> {
    // The first row of the red plane, then the first of the green one.
    let mut record = vec![7];
    record.extend((0..3072).map(|at| (at % 256) as u8));
    let dataset = read_cifar(Cifar::Ten, [&record[..], &gzip(&record)])?;
    assert_eq!((dataset.shape(), dataset.labels()), ([3, 32, 32], &[7, 7][..]));
    assert_eq!(dataset.images()[..3072], record[1..]);
    record.insert(0, 19);
    let dataset = read_cifar(Cifar::Hundred, [&record[..]])?;
    assert_eq!((dataset.classes(), dataset.labels()), (100, &[7][..]));
    Ok(())
}

#[test]
fn a_cifar_file_that_does_not_fit_is_an_error() {
    let record = vec![3; 3073];
    let error = |kind, files: &[&[u8]]| read_cifar(kind, files.to_vec()).unwrap_err().to_string();
    for length in [0, 1, 3072] {
        let message = error(Cifar::Ten, &[&record, &record[..length]]);
        let expected = format!(
            "file 1 should be whole records of 3073 bytes, at most 4294967296 bytes, got {length} bytes"
        );
        assert!(message.contains(&expected), "{message}");
    }
    assert!(error(Cifar::Hundred, &[&record]).contains("whole records of 3074 bytes"));
    assert!(error(Cifar::Ten, &[&[10; 3073]]).contains("below 10, got 10 for image 0"));
    assert!(error(Cifar::Ten, &[]).contains("at least one image"));
    let packed = gzip(&record);
    assert!(
        error(Cifar::Ten, &[&packed[..packed.len() - 9]]).contains("file 0 should be readable")
    );
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), begins in 0usize..3) {
        let start: &[u8] = [&[0, 0, 8, 3][..], &[0x1f, 0x8b, 8, 0], &[]][begins];
        bytes.splice(..0, start.iter().copied());
        let _ = read_idx(&bytes[..], LABELS, 10);
        let _ = read_idx(IMAGES, &bytes[..], 10);
        let _ = read_cifar(Cifar::Ten, [&bytes[..]]);
    }
}
