//! `taper new`, and the worked example of the repository, which is what it writes.

use std::fs;
use std::path::Path;

use crate::{good, run, text};

#[test]
fn the_worked_example_is_the_skeleton() {
    let store = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().display().to_string();
    good(store.path(), &["new", "own-experiment", "--in", &into]);
    let example = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
        .join("../../examples/own-experiment");
    for file in [
        ".gitignore",
        "build.rs",
        "README.md",
        "src/main.rs",
        "src/experiment.rs",
        "src/spec.toml",
        "tests/smoke.rs",
    ] {
        let written = fs::read_to_string(folder.path().join("own-experiment").join(file)).unwrap();
        let committed = fs::read_to_string(example.join(file)).unwrap();
        assert_eq!(
            written, committed,
            "{file}: run `taper new own-experiment --in examples` again"
        );
    }
}

#[test]
fn a_name_that_is_taken_or_bad_is_refused() {
    let store = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().display().to_string();
    good(store.path(), &["new", "mine", "--in", &into]);
    for (name, why) in [("mine", "exists already"), ("My Own", "kebab-case")] {
        let output = run(store.path(), &["new", name, "--in", &into]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(why));
    }
}
