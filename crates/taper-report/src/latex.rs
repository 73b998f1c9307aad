//! The report's tables for a paper.

use minijinja::context;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};

use crate::check::check;
use crate::page::Page;
use crate::template::fill;
use crate::{Report, Result};

/// The verdict table and each claim's criteria and arms as LaTeX tables, for a document that loads
/// `booktabs`.
///
/// # Errors
///
/// An id, a `url` or a run's `href` breaks its contract.
pub fn latex(report: &Report) -> Result<String> {
    check("latex", report)?;
    // Braces are LaTeX's own.
    let mut syntax = SyntaxConfig::builder();
    syntax
        .variable_delimiters("<<", ">>")
        .block_delimiters("<%", "%>")
        .comment_delimiters("<#", "#>");
    let context = context! { page => Value::from(Serde(Page::new(report)?)) };
    fill(include_str!("../templates/report.tex"), syntax, Some(escape), context)
}

/// `text` as LaTeX that shows it as it is, on one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut before = ' ';
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str(r"\textbackslash{}"),
            '~' => escaped.push_str(r"\textasciitilde{}"),
            '^' => escaped.push_str(r"\textasciicircum{}"),
            '<' => escaped.push_str(r"\textless{}"),
            '>' => escaped.push_str(r"\textgreater{}"),
            '|' => escaped.push_str(r"\textbar{}"),
            '"' => escaped.push_str("''"),
            // A bracket after a line break would be that break's argument.
            '[' => escaped.push_str("{[}"),
            ']' => escaped.push_str("{]}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => escaped.extend(['\\', character]),
            // A sign, not the hyphen of a word or of 1e-6.
            '-' if !before.is_alphanumeric() => escaped.push_str("$-$"),
            '–' => escaped.push_str("--"),
            '±' => escaped.push_str(r"$\pm$"),
            '×' => escaped.push_str(r"$\times$"),
            '≤' => escaped.push_str(r"$\le$"),
            '≥' => escaped.push_str(r"$\ge$"),
            '−' => escaped.push_str("$-$"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
        before = character;
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markup_is_shown_as_it_is() {
        assert_eq!(escape(r"50% of a_b & {c}"), r"50\% of a\_b \& \{c\}");
        assert_eq!(escape(r"\input{x}"), r"\textbackslash{}input\{x\}");
        assert_eq!(escape("0.5 [0.1, 0.9] ≥ 0"), r"0.5 {[}0.1, 0.9{]} $\ge$ 0");
        assert_eq!(escape("-1e-6 to-do"), "$-$1e-6 to-do");
        assert_eq!(escape("a\nb"), "a b");
    }
}
