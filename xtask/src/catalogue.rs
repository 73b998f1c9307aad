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
    let equation = unit.section("Equation").unwrap_or_default();
    format!(
        "| {link} | {} | {} |\n",
        cell(first_sentence(&unit.summary)),
        cell(first_line(equation))
    )
}

fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    match paragraph.split_once(". ") {
        Some((sentence, _)) => format!("{sentence}."),
        None => paragraph,
    }
}

/// The first line that is not the fence of a code block.
fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.starts_with("```"));
    line.unwrap_or_default().to_owned()
}

/// Text for a table: rustdoc's links lead nowhere here, and a bar would end the cell.
fn cell(text: String) -> String {
    text.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
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
