use xtask::catalogue::{first_difference, text};

use crate::tree;

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
