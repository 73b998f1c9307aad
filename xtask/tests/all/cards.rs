use xtask::cards::{HEADINGS, check, units};

use crate::{assert_problems, assert_tidy, repository, tree};

const PATH: &str = "crates/taper-losses/src/mean_squared.rs";

/// A unit's file whose card has these headings.
fn unit(headings: &[&str]) -> String {
    let mut text =
        "//! A file.\n\n/// How.\npub struct MeanSquaredOptions;\n\n/// A loss.\n///\n".to_owned();
    for heading in headings {
        let body =
            if *heading == "Example" { "/// ```\n/// # hidden();\n/// ```" } else { "/// Words." };
        text += &format!("/// # {heading}\n{body}\n///\n");
    }
    text + "#[must_use]\npub fn mean_squared(x: f64) -> f64 {\n    x\n}\n"
}

fn assert_unit(text: &str, expected: &[&str]) {
    let root = tree(&[(PATH, text)]);
    assert_problems(check(root.path()), expected);
}

#[test]
fn the_repository_has_whole_cards() {
    assert_tidy(check(&repository()));
    let units = units(&repository()).unwrap();
    for name in ["Linear", "AdamW", "clip_grad_norm", "cross_entropy", "mse"] {
        assert!(units.iter().any(|unit| unit.name == name), "{name}");
    }
}

#[test]
fn a_whole_card_passes() {
    assert_unit(&unit(&HEADINGS), &[]);
}

#[test]
fn each_missing_heading_fails() {
    for missing in HEADINGS {
        let rest: Vec<&str> = HEADINGS.into_iter().filter(|it| *it != missing).collect();
        let message = format!("mean_squared: the card lacks the heading `# {missing}`");
        assert_unit(&unit(&rest), &[&message]);
    }
}

#[test]
fn a_unit_without_a_card_fails() {
    assert_unit(
        &unit(&[]),
        &["mean_squared.rs:9: mean_squared: a unit's documentation has a card"],
    );
    assert_unit(&unit(&["Errors", "Example"]), &["a unit's documentation has a card"]);
    assert_unit("fn private() {}\n", &["mean_squared.rs: a unit's documentation has a card"]);
}

#[test]
fn an_empty_section_an_example_without_code_and_another_order_fail() {
    let text = unit(&HEADINGS);
    assert_unit(&text.replacen("/// Words.\n", "", 1), &["nothing is under `# Equation`"]);
    assert_unit(&text.replace("/// ```", "/// Code:"), &["the example has no code"]);
    let mut headings = HEADINGS;
    headings.swap(0, 1);
    assert_unit(&unit(&headings), &["the headings' order is Equation, Shapes"]);
}

#[test]
fn every_unit_of_a_file_is_held_to_its_card() {
    let two = unit(&HEADINGS) + &unit(&HEADINGS[..7]).replace("mean_squared", "other");
    assert_unit(&two, &["other: the card lacks the heading `# Example`"]);
}

#[test]
fn shared_files_and_parts_of_units_need_no_card() {
    let root = tree(&[
        ("crates/taper-losses/src/lib.rs", "pub fn f() {}\n"),
        ("crates/taper-losses/src/reduction.rs", "pub fn f() {}\n"),
        (PATH, &unit(&HEADINGS)),
        ("crates/taper-losses/src/mean_squared/kernel.rs", "pub fn f() {}\n"),
        ("crates/taper-core/src/testing/close.rs", "pub fn f() {}\n"),
    ]);
    assert_tidy(check(root.path()));
    let root = tree(&[
        ("crates/taper-core/src/optim.rs", "pub fn f() {}\n"),
        ("crates/taper-core/src/optim/sgd.rs", "pub fn f() {}\n"),
    ]);
    assert_problems(check(root.path()), &["sgd.rs: a unit's documentation has a card"]);
}
