//! A parquet file of grey images of two rows and three columns.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::formats::read_parquet;

fuzz_target!(
    init: {
        // The parquet crate panics on some damaged files, and `read_parquet` makes an error of it. The hook of
        // libfuzzer-sys aborts before that. Without it a panic that nobody catches still ends the run.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| {
        let file = taper_data_fuzz::file(bytes);
        if let Ok(dataset) = read_parquet([file], "image", "label", [1, 2, 3], 10) {
            taper_data_fuzz::holds(&dataset);
        }
    }
);
