//! What the fuzz targets share.

use std::fs::File;
use std::io::{Seek, Write};

use taper_data::ImageDataset;

/// What holds for every data set, whatever bytes it came from.
pub fn holds(dataset: &ImageDataset) {
    let pixels: usize = dataset.shape().iter().product();
    assert!(pixels > 0 && !dataset.labels().is_empty());
    assert_eq!(dataset.len() * pixels, dataset.images().len());
    assert_eq!(dataset.len(), dataset.labels().len());
    assert!(dataset.images().iter().all(|pixel| *pixel <= dataset.max_value()));
    assert!(dataset.labels().iter().all(|label| *label < dataset.classes()));
}

/// A nameless temporary file with these bytes, at its start.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room for a temporary file");
    file.rewind().expect("a file that can be rewound");
    file
}
