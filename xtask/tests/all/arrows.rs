use xtask::tidy::arrows::check;

use crate::{assert_problems, assert_tidy, repository, tree};

#[test]
fn the_repository_keeps_the_arrows() {
    assert_tidy(check(&repository()));
}

/// The problems of one crate with this manifest.
fn assert_crate(name: &str, manifest: &str, expected: &[&str]) {
    let manifest = format!("[package]\nname = '{name}'\n{manifest}");
    let root = tree(&[("crates/it/Cargo.toml", &manifest)]);
    assert_problems(check(root.path()), expected);
}

#[test]
fn a_dependency_against_the_arrows_fails() {
    let lab = "[dependencies]\ntaper-norm.workspace = true\ntaper-core.workspace = true";
    assert_crate(
        "taper-lab",
        lab,
        &[
            "crates/it/Cargo.toml: against the arrows: [dependencies] of taper-lab has taper-norm; it may have taper-core, taper-report",
        ],
    );
    assert_crate(
        "taper-core",
        "[dependencies]\ntaper-losses = '0.1'",
        &["has taper-losses; it may have taper-kernels"],
    );
    assert_crate("taper-norm", "[dependencies]\ntaper-losses = '0.1'", &["has taper-losses"]);
    assert_crate(
        "taper-report",
        "[dependencies]\ntaper-core = '0.1'",
        &["it may have none of Taper's crates"],
    );
    assert_crate("xtask", "[dependencies]\ntaper-lab = '0.1'", &["has taper-lab"]);
}

#[test]
fn it_is_found_in_every_table_and_under_another_name() {
    let renamed = "[dependencies]\nnorms = { package = 'taper-norm', version = '0.1' }";
    assert_crate("taper-data", renamed, &["has taper-norm"]);
    let target = "[target.'cfg(unix)'.dependencies]\ntaper-norm = '0.1'";
    assert_crate("taper-data", target, &["has taper-norm"]);
    let build = "[build-dependencies]\ntaper-core = '0.1'";
    assert_crate("taper-data", build, &["[build-dependencies] of taper-data has taper-core"]);
}

#[test]
fn the_sources_digest_is_for_build_scripts() {
    assert_crate("taper-experiments", "[build-dependencies]\ntaper-sources = '0.1'", &[]);
    assert_crate(
        "taper-experiments",
        "[dependencies]\ntaper-sources = '0.1'",
        &["has taper-sources"],
    );
}

#[test]
fn development_dependencies_are_free() {
    assert_crate("taper-core", "[dev-dependencies]\ntaper-losses = '0.1'", &[]);
}

#[test]
fn tensors_are_refused_where_none_are_known() {
    assert_crate(
        "taper-kernels",
        "[dependencies]\ncandle-core = '0.11'",
        &["taper-kernels knows no tensors"],
    );
    assert_crate("taper-norm", "[dependencies]\ncandle-core = '0.11'", &[]);
}

#[test]
fn a_crate_without_a_place_fails() {
    assert_crate("taper-novel", "", &["taper-novel has no place among the crates"]);
}
