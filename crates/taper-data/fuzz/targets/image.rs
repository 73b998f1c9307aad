//! A PNG or JPEG image in a folder: a byte whose two lowest bits say what shape is asked for, then the image.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use taper_data::formats::read_image_folder;
use tempfile::TempDir;

/// A folder with the folder of one class, the same for all inputs: a new one for each would take longer than to read it.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("class")).expect("a folder in the temporary one");
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((shape, image)) = bytes.split_first() else { return };
    let channels = if shape & 1 == 0 { 1 } else { 3 };
    let [height, width] = if shape & 2 == 0 { [2, 3] } else { [17, 9] };
    fs::write(FOLDER.path().join("class/image.png"), image).expect("room for a temporary file");
    let read = read_image_folder(FOLDER.path(), &["class".to_owned()], [channels, height, width]);
    if let Ok(dataset) = read {
        taper_data_fuzz::holds(&dataset);
    }
});
