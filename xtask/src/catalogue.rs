//! docs/catalogue.md: every public unit on one page, from the units' cards.

use std::path::Path;

use anyhow::Result;

use crate::cards::{Unit, units};

/// Where the catalogue is, relative to the root.
pub const PATH: &str = "docs/catalogue.md";

const HEAD: &str = "# Catalogue

Every public unit, from its card. Written by `cargo xtask catalogue`; edit the cards, not this page.
";

/// The catalogue's text.
pub fn text(root: &Path) -> Result<String> {
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
pub fn first_difference(there: &str, wanted: &str) -> Option<String> {
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
