//! A file of CIFAR: a byte whose lowest bit says of which, then the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taper_data::formats::{Cifar, read_cifar};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, file)) = bytes.split_first() else { return };
    let kind = if kind & 1 == 0 { Cifar::Ten } else { Cifar::Hundred };
    if let Ok(dataset) = read_cifar(kind, [file]) {
        taper_data_fuzz::holds(&dataset);
    }
});
