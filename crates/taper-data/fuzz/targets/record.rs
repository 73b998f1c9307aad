//! The record of a data set in a store. One that can be read is the one that the store lists.
#![no_main]

use std::fs;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use taper_data::{DataName, DataStore};
use tempfile::TempDir;

/// A store with the folder of one data set, the same for all inputs, and its name: to make them anew for each would
/// take longer than to read it.
static KEPT: LazyLock<(TempDir, DataName)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("mnist-tiny")).expect("a folder in the temporary one");
    (folder, "mnist-tiny".parse().expect("the name of a variant"))
});

fuzz_target!(|bytes: &[u8]| {
    let (folder, name) = &*KEPT;
    let store = DataStore::at(folder.path());
    fs::write(folder.path().join("mnist-tiny/record.toml"), bytes).expect("room for a file");
    if let Ok(record) = store.record(name) {
        let record = record.expect("a record that is there");
        assert_eq!(record.name, *name);
        assert_eq!(store.records().expect("the same record"), [record]);
        assert!(store.load(name, "train").is_err(), "no images are there");
    }
});
