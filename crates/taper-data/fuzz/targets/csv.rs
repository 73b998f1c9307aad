//! A table of images of two pixels.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::formats::read_csv;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(dataset) = read_csv(bytes, [1, 1, 2], 16, 10) {
        taper_data_fuzz::holds(&dataset);
    }
});
