//! What files are called, how many there are, and what stands in no file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use proc_macro2::Delimiter;

use super::lexer::{Kind, Tokens};
use super::{Problem, members};
use crate::tree;

/// Names that say nothing: what is in such a file belongs where it is used.
const EMPTY_NAMES: [&str; 6] = ["common", "helper", "helpers", "util", "utils", "misc"];

/// The folders with Rust in them.
const RUST: [&str; 4] = ["benches", "crates", "examples", "xtask"];

/// One integration binary a crate; no file with an empty name; no test that is switched off, no code
/// that is left for later.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = integration_binaries(root)?;
    for folder in RUST {
        for (path, text) in tree::texts(root, Path::new(folder), "rs")? {
            if let Some(name) = empty_name(&path) {
                let message = format!("{name:?} says nothing; name the file after what it holds");
                problems.push(Problem::new(&path, 0, message));
            }
            problems.extend(switched_off(&path, &text)?);
        }
    }
    Ok(problems)
}

/// Each integration binary links the crate and its dependencies again.
fn integration_binaries(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for member in members(root)? {
        let tests = member.join("tests");
        let is_binary = |path: &PathBuf| {
            let below: Vec<_> = path.strip_prefix(&tests).into_iter().flatten().collect();
            path.extension().is_some_and(|it| it == "rs")
                && (below.len() == 1 || below.len() == 2 && below[1] == "main.rs")
        };
        let binaries = tree::files(root, &tests)?.into_iter().filter(is_binary);
        problems.extend(binaries.skip(1).map(|path| {
            let message = "a second integration binary; make it a module of the first";
            Problem::new(&path, 0, message)
        }));
    }
    Ok(problems)
}

fn empty_name(path: &Path) -> Option<String> {
    let without_extension = path.with_extension("");
    let mut parts = without_extension.iter().map(|part| part.to_string_lossy().into_owned());
    parts.find(|part| EMPTY_NAMES.contains(&part.as_str()))
}

fn switched_off(path: &Path, text: &str) -> Result<Vec<Problem>> {
    let lexed = Tokens::with_tests(text).with_context(|| path.display().to_string())?;
    let mut problems = Vec::new();
    let mut add = |line, message| problems.push(Problem::new(path, line, message));
    for tokens in lexed.tokens.windows(3) {
        let line = tokens[0].line;
        match [&tokens[0].kind, &tokens[1].kind, &tokens[2].kind] {
            [Kind::Sign('#'), Kind::Open(Delimiter::Bracket), Kind::Word(word)]
                if word == "ignore" =>
            {
                add(line, "#[ignore]: a test that is not run proves nothing; mend it or remove it");
            }
            [Kind::Word(word), Kind::Sign('!'), Kind::Open(_)]
                if word == "todo" || word == "unimplemented" =>
            {
                add(line, "code that is left for later; write it or leave it out");
            }
            _ => {}
        }
    }
    for (line, text) in (1..).zip(text.lines()) {
        let comment = text.trim_start().strip_prefix("//");
        let fence =
            comment.and_then(|it| it.trim_start_matches(['/', '!', ' ']).strip_prefix("```"));
        if fence.is_some_and(|it| it.contains("ignore")) {
            add(line, "a doctest that is not run proves nothing; mend it or remove it");
        }
    }
    Ok(problems)
}

mod tests {
    use super::check;
    use crate::tidy::{assert_problems, assert_tidy, repository, tree};

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
}
