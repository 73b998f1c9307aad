//! The digest changes with what makes numbers and with nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::Path;

use taper_sources::sources;
use tempfile::TempDir;

/// A workspace: `study` needs `middle` needs `base`, and `rand` from a registry.
const FILES: [(&str, &str); 10] = [
    (
        "Cargo.toml",
        "[workspace]\nmembers = ['crates/*']\n\
         [workspace.dependencies]\nmiddle = { path = 'crates/middle' }\n\
         rand = { version = '0.9', default-features = false }\n",
    ),
    ("Cargo.lock", LOCK),
    (
        "crates/study/Cargo.toml",
        "[package]\nname = 'study'\ndescription = 'a study'\n\
         [dependencies]\nmiddle.workspace = true\ntaper-lab = { path = '../taper-lab' }\n\
         [dev-dependencies]\nproptest = '1'\ntester = { path = '../tester' }\n",
    ),
    ("crates/study/src/main.rs", "fn main() {}\n"),
    ("crates/study/src/deep/spec.toml", "question = 'why'\n"),
    (
        "crates/middle/Cargo.toml",
        "[package]\nname = 'middle'\n[target.'cfg(unix)'.dependencies]\nbase = { path = '../base' }\n",
    ),
    ("crates/middle/src/lib.rs", "mod inner;\n"),
    (
        "crates/base/Cargo.toml",
        "[package]\nname = 'base'\n[dependencies]\nrand = { workspace = true, features = ['std'] }\n\
         unused = { version = '1', optional = true }\n",
    ),
    ("crates/base/src/lib.rs", "pub fn one() -> u32 {\n    1\n}\n"),
    ("crates/taper-lab/Cargo.toml", "[package]\nname = 'taper-lab'\n[dependencies]\nclap = '4'\n"),
];

const LOCK: &str = "version = 4
[[package]]
name = 'base'
version = '0.1.0'
dependencies = ['rand', 'proptest']
[[package]]
name = 'clap'
version = '4.0.0'
source = 'registry'
checksum = 'c1'
[[package]]
name = 'proptest'
version = '1.0.0'
source = 'registry'
checksum = 'p1'
[[package]]
name = 'rand'
version = '0.9.0'
source = 'registry'
checksum = 'r1'
dependencies = ['core 1.0.0']
[[package]]
name = 'core'
version = '1.0.0'
source = 'registry'
checksum = 'o1'
[[package]]
name = 'core'
version = '2.0.0'
source = 'registry'
checksum = 'o2'
";

fn workspace() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        write(root.path(), path, text);
    }
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn digest(root: &Path) -> String {
    sources(&root.join("crates/study")).unwrap().digest
}

/// Whether replacing `from` by `to` in a file changes the digest.
fn changes(path: &str, from: &str, to: &str) -> bool {
    let root = workspace();
    let before = digest(root.path());
    let text = fs::read_to_string(root.path().join(path)).unwrap();
    assert!(text.contains(from), "{path} lacks {from:?}");
    write(root.path(), path, &text.replace(from, to));
    digest(root.path()) != before
}

/// Whether a new file changes the digest.
fn counts(path: &str) -> bool {
    let root = workspace();
    let before = digest(root.path());
    write(root.path(), path, "pub fn two() {}\n");
    digest(root.path()) != before
}

#[test]
fn sources_count_also_through_other_packages() {
    assert!(changes("crates/study/src/main.rs", "{}", "{ }"));
    assert!(changes("crates/base/src/lib.rs", "    1", "    2"));
    assert!(counts("crates/middle/src/inner.rs"));
    assert!(counts("crates/middle/src/inner/deeper.rs"));
}

#[test]
fn moving_text_from_one_file_to_another_counts() {
    let root = workspace();
    let before = digest(root.path());
    fs::rename(
        root.path().join("crates/base/src/lib.rs"),
        root.path().join("crates/base/src/main.rs"),
    )
    .unwrap();
    assert_ne!(digest(root.path()), before);
}

#[test]
fn what_makes_no_number_does_not_count() {
    assert!(!changes("crates/study/Cargo.toml", "a study", "another study"));
    assert!(!changes("crates/study/src/deep/spec.toml", "why", "how"));
    assert!(!counts("README.md"));
    assert!(!counts("crates/base/README.md"));
    assert!(!counts("crates/base/benches/base.rs"));
    assert!(!counts("crates/base/tests/all.rs"));
    assert!(!counts("crates/tester/src/lib.rs"));
    assert!(!counts("crates/taper-lab/src/lib.rs"));
    assert!(!changes(
        "crates/taper-lab/Cargo.toml",
        "'4'",
        "{ version = '4', features = ['color'] }"
    ));
}

#[test]
fn locked_packages_count_where_they_are_linked() {
    assert!(changes("Cargo.lock", "r1", "r2"));
    assert!(changes("Cargo.lock", "o1", "o3"));
    assert!(changes("Cargo.lock", "'0.9.0'", "'0.9.1'"));
    assert!(!changes("Cargo.lock", "c1", "c2"), "only the harness needs it");
    assert!(!changes("Cargo.lock", "p1", "p2"), "only tests need it");
    assert!(!changes("Cargo.lock", "o2", "o3"), "nothing needs this version");
    assert!(!changes("Cargo.lock", "version = 4", "version = 5"));
}

#[test]
fn features_count() {
    assert!(changes("crates/base/Cargo.toml", "['std']", "['std', 'simd']"));
    assert!(changes("Cargo.toml", "default-features = false", "default-features = true"));
}

#[test]
fn order_line_ends_and_place_do_not_count() {
    assert!(!changes("crates/base/src/lib.rs", "\n", "\r\n"));
    assert!(!changes(
        "crates/study/Cargo.toml",
        "middle.workspace = true\ntaper-lab = { path = '../taper-lab' }\n",
        "taper-lab = { path = '../taper-lab' }\nmiddle.workspace = true\n",
    ));
    assert_eq!(digest(workspace().path()), digest(workspace().path()));
}

#[test]
fn a_missing_lock_file_is_part_of_the_digest() {
    let root = workspace();
    let before = digest(root.path());
    fs::remove_file(root.path().join("Cargo.lock")).unwrap();
    assert_ne!(digest(root.path()), before);
}

#[test]
fn exactly_what_was_read_is_watched() {
    let root = workspace();
    let top = fs::canonicalize(root.path()).unwrap();
    let package = top.join("crates/study");
    let read = sources(&package).unwrap().read;
    let read: Vec<_> =
        read.iter().map(|path| path.strip_prefix(&top).unwrap().to_str().unwrap()).collect();
    assert_eq!(
        read,
        [
            "Cargo.lock",
            "Cargo.toml",
            "crates/base/Cargo.toml",
            "crates/base/src",
            "crates/middle/Cargo.toml",
            "crates/middle/src",
            "crates/study/Cargo.toml",
            "crates/study/src",
            "crates/taper-lab/Cargo.toml",
        ]
    );
}

/// The message where `to` stands for `from` in a file.
fn message(path: &str, from: &str, to: &str) -> String {
    let root = workspace();
    let text = fs::read_to_string(root.path().join(path)).unwrap();
    write(root.path(), path, &text.replace(from, to));
    sources(&root.path().join("crates/study")).unwrap_err().to_string()
}

#[test]
fn errors_name_the_file_and_what_was_expected() {
    let cases = [
        (message("crates/base/Cargo.toml", "[dependencies]", "[dependencies"), "base/Cargo.toml"),
        (message("crates/base/Cargo.toml", "name", "nom"), "expected [package] with a name"),
        (message("Cargo.toml", "middle", "muddle"), "inherits \"middle\""),
        (message("Cargo.toml", "[workspace", "[space"), "no Cargo.toml above has [workspace]"),
        (message("Cargo.lock", "name = 'rand'", ""), "expected [[package]] with name and version"),
        (message("crates/study/Cargo.toml", "../taper-lab", "../nowhere"), "nowhere"),
    ];
    for (message, expected) in cases {
        assert!(message.contains(expected), "{message:?} lacks {expected:?}");
    }
}
