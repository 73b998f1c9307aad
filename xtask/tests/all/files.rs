use xtask::tidy::files::check;

use crate::{assert_problems, assert_tidy, repository, tree};

#[test]
fn the_repository_has_tidy_files() {
    assert_tidy(check(&repository()));
}

#[test]
fn a_second_integration_binary_fails() {
    let root = tree(&[
        ("crates/it/Cargo.toml", ""),
        ("crates/it/tests/all.rs", ""),
        ("crates/it/tests/golden/script.rs", ""),
        ("crates/it/tests/more/main.rs", ""),
        ("xtask/Cargo.toml", ""),
        ("xtask/tests/all/main.rs", ""),
        ("xtask/tests/all/module.rs", ""),
    ]);
    assert_problems(
        check(root.path()),
        &["crates/it/tests/more/main.rs: a second integration binary"],
    );
}

#[test]
fn empty_names_fail() {
    let root = tree(&[
        ("crates/it/src/utils.rs", ""),
        ("benches/common/mod.rs", ""),
        ("xtask/src/commons.rs", ""),
    ]);
    assert_problems(
        check(root.path()),
        &["benches/common/mod.rs: \"common\" says nothing", "src/utils.rs: \"utils\""],
    );
}

#[test]
fn what_is_switched_off_or_left_for_later_fails() {
    let text = "#[test]\n#[ignore]\nfn a() {}\n#[ignore = \"slow\"]\nfn b() { todo!() }\nfn c() { unimplemented!(\"d\") }\n";
    let root = tree(&[("crates/it/tests/all.rs", text)]);
    assert_problems(
        check(root.path()),
        &[":2: #[ignore]", ":4: #[ignore]", ":5: code that is left", ":6: code that"],
    );
    let root = tree(&[("crates/it/src/lib.rs", "/// ```ignore\n/// a\n/// ```\nfn a() {}\n")]);
    assert_problems(check(root.path()), &[":1: a doctest that is not run"]);
}

#[test]
fn the_words_alone_are_free() {
    let text = "// #[ignore] todo!()\nfn ignore() { \"#[ignore]\"; todo(); }\n/// ```no_run\n/// ```\nfn a() {}\n";
    assert_tidy(check(tree(&[("crates/it/src/lib.rs", text)]).path()));
}
