use xtask::catalogue::{first_difference, text};

use crate::tree;

#[test]
fn a_row_has_the_first_sentence_and_the_first_line_of_the_equation() {
    let source = "/// The mean [`abs`]\n/// error. More.\n///\n/// # Equation\n/// ```text\n/// mean |x|\n/// next\n/// ```\npub fn mae() {}\n";
    let root = tree(&[("crates/taper-losses/src/mae.rs", source)]);
    let page = text(root.path()).unwrap();
    let row = "\n## taper-losses\n\n| unit | what it is | equation |\n|---|---|---|\n\
               | [`mae`](../crates/taper-losses/src/mae.rs) | The mean `abs` error. | mean \\|x\\| |\n";
    assert!(page.ends_with(row), "{page}");
}

#[test]
fn a_stale_page_is_told_by_its_first_difference() {
    assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
    assert_eq!(first_difference("a\nb\n", "a\nc\n").unwrap(), "line 2:\n- b\n+ c");
    assert_eq!(first_difference("a\n", "a\nc\n").unwrap(), "line 2:\n+ c");
    assert_eq!(first_difference("a", "a\n").unwrap(), "the line ends differ");
}
