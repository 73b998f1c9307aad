//! docs/catalogue.md: every public unit on one page, from the units' cards, with the curves of the losses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cards::{Unit, units};
use crate::process::{cargo, output, run, target_folder};
use crate::tree;

/// Where the catalogue is, relative to the root.
const PATH: &str = "docs/catalogue.md";

const HEAD: &str = "# Catalogue

Every public unit, from its card. Written by `cargo xtask catalogue`; edit the cards, not this page.
";

/// Where the figures are: for each package that has some a folder, with `unit.svg`.
const FIGURES: &str = "docs/figures";

/// The package whose units have curves, and the example that draws them.
const DRAWN: (&str, &str) = ("taper-losses", "curves");

/// The package whose units have costs, and the example that prints their tables.
const COUNTED: (&str, &str) = ("taper-bottleneck", "costs");

/// Writes the page and its figures.
pub(crate) fn write(root: &Path) -> Result<()> {
    let figures = root.join(FIGURES).join(DRAWN.0);
    remove(&figures)?;
    draw(root, &figures)?;
    let path = root.join(PATH);
    fs::write(&path, text(root, &costs(root)?)?)
        .with_context(|| format!("writing {}", path.display()))
}

/// An error where the page or a figure is not what would be written.
pub(crate) fn check(root: &Path) -> Result<()> {
    let stale = |what: &str, difference: &str| {
        bail!("{what} is stale; `cargo xtask catalogue` writes it anew\n{difference}")
    };
    let fresh = target_folder().unwrap_or_else(|| root.join("target")).join(DRAWN.1);
    remove(&fresh)?;
    draw(root, &fresh)?;
    let (there, wanted) = (figures(root, DRAWN.0)?, tree::texts(&fresh, Path::new(""), "svg")?);
    let names = there.iter().map(|(name, _)| name).chain(wanted.iter().map(|(name, _)| name));
    for name in names {
        let of = |figures: &[(PathBuf, String)]| {
            figures.iter().find(|(other, _)| other == name).map(|(_, text)| text.clone())
        };
        let (there, wanted) = (of(&there).unwrap_or_default(), of(&wanted).unwrap_or_default());
        if let Some(difference) = first_difference(&there, &wanted) {
            return stale(&format!("{FIGURES}/{}/{}", DRAWN.0, name.display()), &difference);
        }
    }
    // No file is as stale as an old one.
    let there = fs::read_to_string(root.join(PATH)).unwrap_or_default();
    match first_difference(&there, &text(root, &costs(root)?)?) {
        None => Ok(()),
        Some(difference) => stale(PATH, &difference),
    }
}

fn remove(folder: &Path) -> Result<()> {
    match folder.exists() {
        true => {
            fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
        }
        false => Ok(()),
    }
}

fn draw(root: &Path, folder: &Path) -> Result<()> {
    run(example(root, DRAWN).arg("--").arg(folder))
}

/// The tables of what units cost.
fn costs(root: &Path) -> Result<String> {
    output(&mut example(root, COUNTED))
}

/// Runs an example of a package.
fn example(root: &Path, (package, example): (&str, &str)) -> Command {
    let mut command = cargo();
    command.args(["run", "--quiet", "--locked", "--package", package, "--example", example]);
    command.current_dir(root);
    command
}

/// The figures of a package, by their names.
fn figures(root: &Path, package: &str) -> Result<Vec<(PathBuf, String)>> {
    tree::texts(&root.join(FIGURES).join(package), Path::new(""), "svg")
}

/// The catalogue's text, with these tables of costs.
fn text(root: &Path, costs: &str) -> Result<String> {
    let mut text = HEAD.to_owned();
    let (mut package, mut drawn) = ("", Vec::new());
    for unit in units(root)? {
        if unit.package != package {
            text += &after(package, costs);
            package = unit.package;
            drawn = figures(root, package)?.into_iter().map(|(name, _)| name).collect();
            let (title, line) = match drawn.is_empty() {
                true => ("", ""),
                false => (" value and gradient |", "---|"),
            };
            let header = format!("| unit | what it is | equation |{title}\n|---|---|---|{line}\n");
            text += &format!("\n## {package}\n\n{header}");
        }
        text += &row(&unit);
        if !drawn.is_empty() {
            text += &curve(&unit, &drawn);
        }
        text += "\n";
    }
    text += &after(package, costs);
    Ok(text)
}

/// What follows the units of a package.
fn after(package: &str, costs: &str) -> String {
    if package == COUNTED.0 { format!("\n{costs}") } else { String::new() }
}

fn row(unit: &Unit) -> String {
    let parts: Vec<_> = unit.path.iter().map(|part| part.to_string_lossy()).collect();
    let link = format!("[`{}`](../{})", unit.name, parts.join("/"));
    let summary = first_paragraph(&unit.summary);
    let sentence =
        summary.split_once(". ").map_or(summary.clone(), |(first, _)| format!("{first}."));
    let equation = first_paragraph(unit.section("Equation").unwrap_or_default());
    format!("| {link} | {} | {} |", cell(&sentence), cell(&equation))
}

/// The cell of a unit's figure, empty where it has none.
fn curve(unit: &Unit, drawn: &[PathBuf]) -> String {
    let name = format!("{}.svg", unit.name);
    match drawn.iter().any(|figure| figure == Path::new(&name)) {
        false => " |".to_owned(),
        true => {
            let source = format!("figures/{}/{name}", unit.package);
            format!(
                " <img src=\"{source}\" width=\"260\" alt=\"{}: value and gradient\"> |",
                unit.name
            )
        }
    }
}

/// The lines up to the first empty one that ends a sentence, as one line; list items stay apart.
fn first_paragraph(text: &str) -> String {
    let mut paragraph = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("```")) {
        if line.is_empty() {
            // What ends in the middle of a sentence goes on.
            match [" and", " with", ","].iter().any(|end| paragraph.ends_with(end)) {
                true => continue,
                false => break,
            }
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
fn first_difference(there: &str, wanted: &str) -> Option<String> {
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
        let page = text(root.path(), "").unwrap();
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
    fn a_drawn_unit_has_its_figure_and_the_others_an_empty_cell() {
        let root = tree(&[
            (
                "crates/taper-losses/src/mae.rs",
                "/// One.\n///\n/// # Equation\n/// 1\npub fn mae() {}\n",
            ),
            (
                "crates/taper-losses/src/mse.rs",
                "/// Two.\n///\n/// # Equation\n/// 2\npub fn mse() {}\n",
            ),
            ("docs/figures/taper-losses/mae.svg", ""),
        ]);
        let page = text(root.path(), "").unwrap();
        let rows: Vec<_> = page.lines().rev().take(2).collect();
        assert!(rows[1].ends_with(
            "| One. | 1 | <img src=\"figures/taper-losses/mae.svg\" width=\"260\" alt=\"mae: value and gradient\"> |"
        ));
        assert!(rows[0].ends_with("| Two. | 2 | |"), "{}", rows[0]);
        assert!(page.contains(
            "| unit | what it is | equation | value and gradient |\n|---|---|---|---|\n"
        ));
    }

    #[test]
    fn a_stale_page_is_told_by_its_first_difference() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n").unwrap(), "line 2:\n- b\n+ c");
        assert_eq!(first_difference("a\n", "a\nc\n").unwrap(), "line 2:\n+ c");
        assert_eq!(first_difference("a", "a\n").unwrap(), "the line ends differ");
    }
}
