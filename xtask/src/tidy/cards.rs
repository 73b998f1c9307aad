//! Every unit has a whole card.

use std::path::Path;

use anyhow::Result;

use super::Problem;
use crate::cards::{HEADINGS, Unit, unit_files};

/// Finds unit files without a unit and units whose card lacks something.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for (path, items) in unit_files(root)? {
        if !items.iter().any(Unit::has_card) {
            problems.push(without_card(&path, &items));
        }
        problems.extend(items.iter().filter(|item| item.has_card()).flat_map(check_card));
    }
    Ok(problems)
}

/// What a file without a card lacks, said at the item that is named like it.
fn without_card(path: &Path, items: &[Unit]) -> Problem {
    let plain = |name: &str| name.replace('_', "").to_lowercase();
    let stem = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
    let message = "a unit's documentation has a card; see `HEADINGS` in xtask/src/cards.rs (a file that \
                   is no unit is named in `UNIT_CRATES` there)";
    match items.iter().find(|item| plain(&item.name) == stem) {
        Some(item) => problem(item, message.to_owned()),
        None => Problem::new(path, 0, message),
    }
}

fn check_card(unit: &Unit) -> Vec<Problem> {
    let mut problems = Vec::new();
    for heading in HEADINGS {
        match unit.section(heading) {
            None => {
                problems.push(problem(unit, format!("the card lacks the heading `# {heading}`")))
            }
            Some("") => problems.push(problem(unit, format!("nothing is under `# {heading}`"))),
            Some(text) if heading == "Example" && !text.contains("```") => {
                problems.push(problem(unit, "the example has no code".to_owned()));
            }
            Some(_) => {}
        }
    }
    let order =
        unit.sections.iter().filter_map(|(name, _)| HEADINGS.iter().position(|it| it == name));
    if !order.is_sorted() {
        problems.push(problem(unit, format!("the headings' order is {}", HEADINGS.join(", "))));
    }
    problems
}

fn problem(unit: &Unit, message: String) -> Problem {
    Problem::new(&unit.path, 0, format!("{}: {message}", unit.name))
}

mod tests {
    use super::check;
    use crate::cards::{HEADINGS, units};
    use crate::tidy::{assert_problems, assert_tidy, repository, tree};

    const PATH: &str = "crates/taper-losses/src/mean_squared.rs";

    /// A unit's file whose card has these headings.
    fn unit(headings: &[&str]) -> String {
        let mut text =
            "//! A file.\n\n/// How.\npub struct MeanSquaredOptions;\n\n/// A loss.\n///\n"
                .to_owned();
        for heading in headings {
            let body = if *heading == "Example" {
                "/// ```\n/// # hidden();\n/// ```"
            } else {
                "/// Words."
            };
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
            &["mean_squared.rs: mean_squared: a unit's documentation has a card"],
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
            ("crates/taper-losses/src/options.rs", "pub fn f() {}\n"),
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
}
