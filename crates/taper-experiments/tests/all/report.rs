//! The report of a run.

use std::fs;

use crate::{EXPERIMENTS, good};

#[test]
fn every_experiment_is_listed() {
    let store = tempfile::tempdir().unwrap();
    let listed = good(store.path(), &["list"]);
    for name in EXPERIMENTS {
        assert!(listed.contains(name), "{listed}");
    }
}

#[test]
fn a_report_has_a_verdict_for_each_claim_and_its_files_beside_it() {
    let store = tempfile::tempdir().unwrap();
    let args = [&["run"], &EXPERIMENTS[..], &["--scale", "smoke"]].concat();
    let said = good(store.path(), &args);
    let path = said.lines().last().unwrap().strip_prefix("report: ").unwrap();
    let html = fs::read_to_string(path).unwrap().replace("&#x2f;", "/");
    assert_eq!(html.matches("data-verdict=").count(), EXPERIMENTS.len());
    let folder = std::path::Path::new(path).parent().unwrap();
    let markdown = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(EXPERIMENTS.iter().all(|name| markdown.contains(name)));
    for figure in markdown.split("](").filter_map(|rest| rest.split(')').next()) {
        if figure.ends_with(".svg") {
            assert!(folder.join(figure).is_file(), "{figure}");
        }
    }
    let csv = fs::read_to_string(folder.join("measures.csv")).unwrap();
    assert!(csv.lines().count() > 20);
    // Links lead to runs.
    let href = html.split("href=\"").find(|rest| rest.starts_with("../")).unwrap();
    assert!(folder.join(href.split('"').next().unwrap()).exists());
}
