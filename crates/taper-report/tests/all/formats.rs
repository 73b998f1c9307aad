//! The four formats of one report.

use std::path::Path;

use taper_report::{csv, html, latex, markdown};

use crate::fixture;

/// With `UPDATE_GOLDEN=1` in the environment the files are written instead of compared.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    // Line by line, so that a failure shows the line and not the file.
    for (number, (ours, theirs)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}, line {}", number + 1);
    }
    assert_eq!(text, expected, "{name}");
}

#[test]
fn markdown_latex_and_csv_are_as_they_were() {
    let report = fixture::report();
    golden("report.md", &markdown(&report).unwrap().text);
    golden("report.tex", &latex(&report).unwrap());
    golden("report.csv", &csv(&report).unwrap());
}

#[test]
fn html_now() {
    if let Some(path) = std::env::var_os("SHOW") {
        std::fs::write(path, html(&fixture::report()).unwrap()).unwrap();
    }
}
