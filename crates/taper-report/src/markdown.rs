//! The report as Markdown.

use minijinja::context;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};

use crate::check::check;
use crate::page::Page;
use crate::plot::standalone;
use crate::template::fill;
use crate::{Report, Result};

/// A report as Markdown with its figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markdown {
    /// The text.
    pub text: String,
    /// The figures, to be put into the same folder.
    pub figures: Vec<FigureFile>,
}

/// A drawn figure, or one panel of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FigureFile {
    /// The name under which the text refers to it.
    pub name: String,
    /// Its content, an SVG image.
    pub svg: String,
}

/// The report as Markdown with tables (GitHub's kind), and its figures as files to put beside it.
///
/// # Errors
///
/// An id, a `url` or a run's `href` breaks its contract.
pub fn markdown(report: &Report) -> Result<Markdown> {
    check("markdown", report)?;
    let page = Page::new(report)?;
    let images =
        page.claims.iter().flat_map(|claim| &claim.figures).flat_map(|figure| &figure.panels);
    let figures =
        images.map(|image| FigureFile { name: image.file.clone(), svg: standalone(&image.svg) });
    let figures = figures.collect();
    let template = include_str!("../templates/report.md");
    let context = context! { page => Value::from(Serde(page)) };
    let text = fill(template, SyntaxConfig::builder(), Some(escape), context)?;
    Ok(Markdown { text, figures })
}

/// `text` as Markdown that shows it as it is, on one line: also in a table's cell, at the start of
/// a line and as the target of a link.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, character) in text.chars().enumerate() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '(' | ')' => {
                escaped.extend(['\\', character]);
            }
            '-' | '+' if index == 0 && text.chars().nth(1) == Some(' ') => {
                escaped.extend(['\\', character]);
            }
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markup_is_shown_as_it_is() {
        assert_eq!(escape("a_b *c* <d> | [e](f)"), r"a\_b \*c\* &lt;d&gt; \| \[e\]\(f\)");
        assert_eq!(escape("- x\n# y"), r"\- x \# y");
        assert_eq!(escape("-0.5 [-1, 2]"), r"-0.5 \[-1, 2\]");
    }
}
