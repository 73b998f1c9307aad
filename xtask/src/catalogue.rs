//! docs/catalogue.md: every public unit on one page, from the units' cards.

use std::path::Path;

use anyhow::Result;

use crate::cards::{Unit, units};

/// Where the catalogue is, relative to the root.
pub(crate) const PATH: &str = "docs/catalogue.md";

const HEAD: &str = "# Catalogue

Every public unit, from its card. Written by `cargo xtask catalogue`; edit the cards, not this page.
";

/// The catalogue's text.
pub(crate) fn text(root: &Path) -> Result<String> {
    let mut text = HEAD.to_owned();
    let mut package = "";
    for unit in units(root)? {
        if unit.package != package {
            package = unit.package;
            text += &format!("\n## {package}\n\n| unit | what it is | equation |\n|---|---|---|\n");
        }
        text += &row(&unit);
    }
    Ok(text)
}

fn row(unit: &Unit) -> String {
    let parts: Vec<_> = unit.path.iter().map(|part| part.to_string_lossy()).collect();
    let link = format!("[`{}`](../{})", unit.name, parts.join("/"));
    let summary = first_paragraph(&unit.summary);
    let sentence =
        summary.split_once(". ").map_or(summary.clone(), |(first, _)| format!("{first}."));
    let equation = first_paragraph(unit.section("Equation").unwrap_or_default());
    format!("| {link} | {} | {} |\n", cell(&sentence), cell(&equation))
}

/// The lines up to the first empty one as one line; list items stay apart.
fn first_paragraph(text: &str) -> String {
    let mut paragraph = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("```")) {
        if line.is_empty() {
            break;
        }
        let (between, line) = line.strip_prefix("- ").map_or((" ", line), |item| ("<br>", item));
        if !paragraph.is_empty() {
            paragraph += between;
        }
        paragraph += line;
    }
    paragraph
}

/// Text for a table: rustdoc's links lead nowhere here, and a bar would end the cell.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[`") {
        cell += before;
        rest = after;
        // [`code`] or [`code`](target); anything else is a bracket.
        let Some((code, after)) = rest.split_once('`') else {
            cell += "[`";
            continue;
        };
        rest = after;
        match after.strip_prefix(']') {
            None => cell += &format!("[`{code}`"),
            Some(after) => {
                cell += &format!("`{code}`");
                let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
                rest = target.map_or(after, |(_, after)| after);
            }
        }
    }
    (cell + rest).replace('|', "\\|")
}

/// The first line in which two texts differ, as a diff shows it.
pub(crate) fn first_difference(there: &str, wanted: &str) -> Option<String> {
    if there == wanted {
        return None;
    }
    let (mut old, mut new) = (there.lines(), wanted.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (old, new) if old == new => {}
            (old, new) => {
                let shown = |sign: char, line: Option<&str>| {
                    line.map_or(String::new(), |line| format!("\n{sign} {line}"))
                };
                return Some(format!("line {number}:{}{}", shown('-', old), shown('+', new)));
            }
        }
    }
    Some("the line ends differ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{first_difference, text};
    use crate::tidy::tree;

    /// The last row of the catalogue of one unit with this summary and equation.
    fn row(summary: &str, equation: &str) -> String {
        let source = format!("{summary}\n///\n/// # Equation\n{equation}\npub fn mae() {{}}\n");
        let root = tree(&[("crates/taper-losses/src/mae.rs", &source)]);
        let page = text(root.path()).unwrap();
        let head = "\n## taper-losses\n\n| unit | what it is | equation |\n|---|---|---|\n";
        page.split_once(head).unwrap().1.to_owned()
    }

    #[test]
    fn a_row_has_the_first_sentence_and_the_first_paragraph_of_the_equation() {
        assert_eq!(
            row(
                "/// The mean\n/// error. More.",
                "/// ```text\n/// mean |x|\n/// of all\n/// ```\n///\n/// More."
            ),
            "| [`mae`](../crates/taper-losses/src/mae.rs) | The mean error. | mean \\|x\\| of all |\n"
        );
    }

    #[test]
    fn links_become_code_and_lists_stay_apart() {
        assert_eq!(
            row(
                "/// An [`Init`](a::Init) in [−`a`, `b`] or [`C`].",
                "/// - `A`: 1 - a\n/// - `B`:\n///   x"
            ),
            "| [`mae`](../crates/taper-losses/src/mae.rs) | An `Init` in [−`a`, `b`] or `C`. | `A`: 1 - a<br>`B`: x |\n"
        );
    }

    #[test]
    fn a_stale_page_is_told_by_its_first_difference() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n").unwrap(), "line 2:\n- b\n+ c");
        assert_eq!(first_difference("a\n", "a\nc\n").unwrap(), "line 2:\n+ c");
        assert_eq!(first_difference("a", "a\n").unwrap(), "the line ends differ");
    }
}
