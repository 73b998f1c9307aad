//! A pair of IDX files: a byte that is the length of the file of images, this file, the file of labels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::formats::read_idx;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, files)) = bytes.split_first() else { return };
    let (images, labels) = files.split_at(files.len().min(usize::from(*length)));
    if let Ok(dataset) = read_idx(images, labels, 10) {
        taper_data_fuzz::holds(&dataset);
    }
});
