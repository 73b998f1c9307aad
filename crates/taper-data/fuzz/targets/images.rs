//! A file of images ready for use. What can be read is written as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::formats::{read_images, write_images};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(dataset) = read_images(taper_data_fuzz::file(bytes)) {
        taper_data_fuzz::holds(&dataset);
        let mut written = Vec::new();
        write_images(&dataset, &mut written).expect("room in memory");
        assert_eq!(written, bytes);
    }
});
