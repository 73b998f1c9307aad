//! Names that trainable code may not use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::Delimiter;

use super::lexer::{Kind, Token, Tokens};
use super::{Problem, members};
use crate::tree;

/// Names that are banned for the same reason.
struct Ban {
    /// Paths. A use is a path that holds one of these in a row once its imports are written out, or a
    /// method of that name.
    names: &'static [&'static str],
    why: &'static str,
    instead: &'static str,
}

/// Banned below `crates/*/src`.
const IN_ALL_CRATES: [Ban; 6] = [
    Ban {
        names: &[
            "candle_nn::ops::layer_norm",
            "candle_nn::ops::rms_norm",
            "candle_nn::ops::softmax_last_dim",
            "candle_nn::ops::sdpa",
            "candle_nn::rotary_emb::rope",
            "candle_nn::rotary_emb::rope_i",
            "candle_nn::rotary_emb::rope_thd",
            "candle_nn::layer_norm",
            "candle_nn::rms_norm",
            "candle_nn::LayerNorm",
            "candle_nn::RmsNorm",
        ],
        why: "it has no backward: gradients upstream stop without an error",
        instead: "a layer of taper-norm, or candle_nn::ops::softmax",
    },
    Ban {
        names: &["apply_op1_no_bwd", "apply_op2_no_bwd", "apply_op3_no_bwd"],
        why: "gradients upstream stop without an error",
        instead: "apply_op1, apply_op2 or apply_op3 with a `bwd`",
    },
    Ban {
        names: &["candle_nn::loss::binary_cross_entropy_with_logit"],
        why: "it is a logarithm of a sigmoid: NaN at large logits",
        instead: "a loss of taper-losses",
    },
    Ban {
        names: &[
            "Tensor::rand",
            "Tensor::randn",
            "Var::rand",
            "Var::randn",
            "Var::rand_f64",
            "Var::randn_f64",
            "rand_like",
            "randn_like",
        ],
        why: "candle's generator on the processor cannot be seeded",
        instead: "a named taper_core::Stream",
    },
    Ban {
        names: &["candle_nn::Dropout", "candle_nn::ops::Dropout", "candle_nn::ops::dropout"],
        why: "candle's generator on the processor cannot be seeded",
        instead: "taper_core::Dropout",
    },
    Ban {
        names: &["candle_nn::VarMap", "candle_nn::var_map", "from_varmap"],
        why: "it draws unseeded numbers and hands buffers to the optimizer",
        instead: "taper_core::Parameters",
    },
];

/// Banned besides in what has to run anywhere, a browser included.
const ANYWHERE: Ban = Ban {
    names: &["std::env", "std::fs", "std::net", "std::process", "std::thread", "std::time"],
    why: "model code, statistics and verdicts read no clock, start no thread and touch no file",
    instead: "an argument: bytes, a stream, a time",
};

/// What has to run anywhere: crates, and modules of the harness.
const RUNS_ANYWHERE: [&str; 12] = [
    "crates/taper-kernels/src",
    "crates/taper-core/src",
    "crates/taper-losses/src",
    "crates/taper-norm/src",
    "crates/taper-bottleneck/src",
    "crates/taper-autoencoders/src",
    "crates/taper-classical/src",
    "crates/taper-lab/src/arm",
    "crates/taper-lab/src/criterion",
    "crates/taper-lab/src/outcomes",
    "crates/taper-lab/src/stats",
    "crates/taper-lab/src/verdict",
];

/// Modules within those that may: the one fork-join, and the choice of an instruction set, whose cap comes
/// from the environment.
const MAY_ASK_THE_SYSTEM: [&str; 2] =
    ["crates/taper-kernels/src/isa", "crates/taper-kernels/src/threads"];

/// Looks for banned names below `crates/*/src`. Comments, strings and tests do not count.
pub(crate) fn check(root: &Path) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for member in members(root)?.iter().filter(|member| member.starts_with("crates")) {
        let folder = member.join("src");
        let mut files = Vec::new();
        let mut test_files = BTreeSet::new();
        for (path, text) in tree::texts(root, &folder, "rs")? {
            let tokens =
                Tokens::without_tests(&text).with_context(|| path.display().to_string())?;
            test_files.extend(tokens.test_files(&path));
            files.push((path, tokens.tokens));
        }
        for (path, tokens) in files {
            let module = path.with_extension("");
            if !test_files.iter().any(|test| module.starts_with(test)) {
                problems.extend(check_file(&path, &tokens));
            }
        }
    }
    Ok(problems)
}

fn check_file(path: &Path, tokens: &[Token]) -> BTreeSet<Problem> {
    let module = path.with_extension("");
    let within = |places: &[&str]| places.iter().any(|place| module.starts_with(place));
    let anywhere = within(&RUNS_ANYWHERE) && !within(&MAY_ASK_THE_SYSTEM);
    let bans = IN_ALL_CRATES.iter().chain(anywhere.then_some(&ANYWHERE));
    let uses = Uses::of(tokens);
    let mut problems = BTreeSet::new();
    for ban in bans {
        for name in ban.names {
            let lines = uses.lines_with(name);
            problems.extend(lines.map(|line| {
                let message = format!("{name} is banned here: {}; use {}", ban.why, ban.instead);
                Problem::new(path, line, message)
            }));
        }
    }
    problems
}

/// The paths that a file's code uses.
#[derive(Default)]
struct Uses {
    paths: Vec<Used>,
    /// What an imported name stands for.
    imports: BTreeMap<String, Vec<String>>,
}

struct Used {
    path: Vec<String>,
    line: usize,
    /// An import of all that is in there.
    glob: bool,
}

impl Uses {
    fn of(tokens: &[Token]) -> Self {
        let mut uses = Self::default();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            match &token.kind {
                Kind::Word(word) if word == "use" => at = uses.import(tokens, at + 1, Vec::new()),
                Kind::Word(_) => {
                    let (path, next) = path(tokens, at);
                    uses.paths.push(Used { path, line: token.line, glob: false });
                    at = next;
                }
                _ => at += 1,
            }
        }
        uses
    }

    /// Reads one branch of an import whose stem is `path`; returns where it ends.
    fn import(&mut self, tokens: &[Token], at: usize, mut path: Vec<String>) -> usize {
        let (branch, mut at) = self::path(tokens, skip_colons(tokens, at));
        path.extend(branch);
        let Some(token) = tokens.get(at) else {
            return at;
        };
        let line = token.line;
        match &token.kind {
            Kind::Open(Delimiter::Brace) => {
                at += 1;
                while let Some(token) = tokens.get(at) {
                    match token.kind {
                        Kind::Close(_) => return at + 1,
                        Kind::Sign(',') => at += 1,
                        _ => at = self.import(tokens, at, path.clone()).max(at + 1),
                    }
                }
                at
            }
            Kind::Sign('*') => {
                self.paths.push(Used { path, line, glob: true });
                at + 1
            }
            Kind::Word(word) if word == "as" => {
                if let Some(Kind::Word(alias)) = tokens.get(at + 1).map(|token| &token.kind) {
                    self.name(alias.clone(), path, line);
                }
                at + 2
            }
            _ => {
                let own = path.iter().rfind(|part| *part != "self").cloned();
                self.name(own.unwrap_or_default(), path, line);
                at
            }
        }
    }

    fn name(&mut self, name: String, mut path: Vec<String>, line: usize) {
        // `a::{self}` names a itself.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.imports.insert(name, path.clone());
        self.paths.push(Used { path, line, glob: false });
    }

    /// The lines on which the banned path `name` is used.
    fn lines_with(&self, name: &str) -> impl Iterator<Item = usize> {
        let banned: Vec<&str> = name.split("::").collect();
        self.paths.iter().filter_map(move |used| {
            let path = self.written_out(&used.path);
            let holds = path.windows(banned.len()).any(|part| part == banned);
            let reaches = used.glob && banned.len() > path.len() && banned.starts_with(&path);
            (holds || reaches).then_some(used.line)
        })
    }

    /// The path with its first name replaced by what was imported under it.
    fn written_out<'a>(&'a self, path: &'a [String]) -> Vec<&'a str> {
        let mut path: Vec<&str> = path.iter().map(String::as_str).collect();
        // An import can start at an import; more than a few steps are a circle such as `use a::a`.
        for _ in 0..4 {
            let Some(import) = path.first().and_then(|first| self.imports.get(*first)) else {
                break;
            };
            path.splice(..1, import.iter().map(String::as_str));
        }
        path
    }
}

/// The path at `at`, names with `::` between, and where it ends. Generic arguments end it.
fn path(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(Kind::Word(word)) = tokens.get(at).map(|token| &token.kind) {
        path.push(word.clone());
        at += 1;
        let next = skip_colons(tokens, at);
        if next == at {
            break;
        }
        at = next;
    }
    (path, at)
}

fn skip_colons(tokens: &[Token], at: usize) -> usize {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| token.kind == Kind::Sign(':'));
    if colon(at) && colon(at + 1) { at + 2 } else { at }
}

mod tests {
    use super::check;
    use crate::tidy::{assert_problems, assert_tidy, repository, tree};

    #[test]
    fn the_repository_uses_no_banned_name() {
        assert_tidy(check(&repository()));
    }

    /// The problems of `path` with this text.
    fn assert_file(path: &str, text: &str, expected: &[&str]) {
        let manifest = format!("{}/Cargo.toml", &path[..path.find("/src/").unwrap()]);
        let root = tree(&[(&manifest, "[package]\nname = 'it'"), (path, text)]);
        assert_problems(check(root.path()), expected);
    }

    fn assert_loss(text: &str, expected: &[&str]) {
        assert_file("crates/taper-losses/src/mse.rs", text, expected);
    }

    #[test]
    fn every_banned_name_is_found() {
        let names = [
            "candle_nn::ops::layer_norm",
            "candle_nn::ops::rms_norm",
            "candle_nn::ops::softmax_last_dim",
            "candle_nn::ops::sdpa",
            "candle_nn::rotary_emb::rope",
            "candle_nn::rotary_emb::rope_i",
            "candle_nn::rotary_emb::rope_thd",
            "candle_nn::layer_norm",
            "candle_nn::rms_norm",
            "candle_nn::LayerNorm",
            "candle_nn::RmsNorm",
            "candle_nn::loss::binary_cross_entropy_with_logit",
            "candle_nn::Dropout",
            "candle_nn::ops::Dropout",
            "candle_nn::ops::dropout",
            "candle_nn::VarMap",
            "candle_nn::VarBuilder::from_varmap",
            "candle_core::Tensor::rand",
            "candle_core::Tensor::randn",
            "candle_core::Var::rand",
            "candle_core::Var::randn",
            "candle_core::Var::rand_f64",
            "candle_core::Var::randn_f64",
            "candle_core::Tensor::randn_like",
            "candle_core::Tensor::rand_like",
            "std::env::var",
            "std::fs::read",
            "std::net::TcpStream",
            "std::process::exit",
            "std::thread::spawn",
            "std::time::Instant",
        ];
        for name in names {
            let (stem, last) = name.rsplit_once("::").unwrap();
            let module = stem.rsplit("::").next().unwrap();
            // Written out, and through an import of the name, of its stem, under another name, in a list.
            let spellings = [
                format!("fn f() {{ {name}(); }}"),
                format!("fn f() {{ ::{name}(); }}"),
                format!("use {stem} as other; fn f() {{ other::{last}(); }}"),
                format!("use {stem}::{{self as other, Else}}; fn f() {{ other::{last}(); }}"),
                format!("use {stem}::{{self}}; fn f() {{ {module}::{last}(); }}"),
                format!("mod m {{ use {stem}::{last} as other; }}"),
                format!("use {stem}::{{Else, {last}}};"),
            ];
            for text in spellings {
                let root = tree(&[
                    ("crates/taper-losses/Cargo.toml", ""),
                    ("crates/taper-losses/src/mse.rs", &text),
                ]);
                let problems = check(root.path()).unwrap();
                assert!(!problems.is_empty(), "{text}");
                assert!(problems.iter().all(|it| it.message.contains("is banned here")), "{text}");
            }
        }
    }

    #[test]
    fn banned_methods_are_found() {
        for name in
            ["rand_like", "randn_like", "apply_op1_no_bwd", "apply_op2_no_bwd", "apply_op3_no_bwd"]
        {
            assert_loss(&format!("fn f() {{ x?.{name}(0., 1.) }}"), &[name]);
        }
    }

    #[test]
    fn an_alias_of_a_crate_and_a_glob_are_followed() {
        assert_loss(
            "use candle_nn as nn;\nuse nn::ops as o;\nfn f() { o::sdpa() }",
            &["mse.rs:3: candle_nn::ops::sdpa is banned here"],
        );
        assert_loss(
            "use candle_core::{Tensor as T};\nfn f() { T::randn(0., 1., 2, &d) }",
            &[":2: Tensor::randn"],
        );
        assert_loss("use std::thread::*;", &["std::thread"]);
        assert_loss(
            "use candle_nn::rotary_emb::*;",
            &["rotary_emb::rope ", "rotary_emb::rope_i ", "rotary_emb::rope_thd "],
        );
    }

    #[test]
    fn the_message_tells_where_why_and_what_instead() {
        assert_loss(
            "\nuse candle_nn::ops::softmax_last_dim;",
            &[
                "crates/taper-losses/src/mse.rs:2: candle_nn::ops::softmax_last_dim is banned here: it has no \
           backward: gradients upstream stop without an error; use a layer of taper-norm, or candle_nn::ops::softmax",
            ],
        );
    }

    #[test]
    fn names_of_our_own_are_free() {
        assert_loss(
            "use candle_core::Tensor;
         use crate::ops::{layer_norm, rope};
         use taper_core::{Dropout, Stream};
         fn f(stream: &mut Stream) {
             stream.uniform(0., 1., 3, d, v); stream.normal(0., 1., 3, d, v);
             Tensor::from_vec(v, 3, d); candle_nn::ops::softmax(x, 1); layer_norm(x);
             let fs = 1; let time = fs; time.thread(); env!(\"A\");
         }",
            &[],
        );
    }

    #[test]
    fn comments_strings_and_tests_are_free() {
        assert_loss(
            "//! Not Tensor::rand.
         // std::fs::read
         /* std::fs::read */
         /// ```\n/// std::fs::read(\"a\");\n/// ```
         fn f() { \"std::fs::read\"; r#\"std::fs\"#; }
         #[cfg(test)]
         mod tests { use std::fs; fn f() { Tensor::rand(); } }",
            &[],
        );
    }

    #[test]
    fn test_modules_in_files_of_their_own_are_free() {
        let root = tree(&[
            ("crates/taper-core/Cargo.toml", ""),
            ("crates/taper-core/src/lib.rs", "#[cfg(test)]\nmod toy;\nmod real;"),
            ("crates/taper-core/src/toy.rs", "use std::fs;"),
            ("crates/taper-core/src/toy/deep.rs", "use std::fs;"),
            ("crates/taper-core/src/real.rs", "use std::fs;"),
        ]);
        assert_problems(check(root.path()), &["real.rs:1"]);
    }

    #[test]
    fn the_machine_is_free_where_it_is_meant_to_be_used() {
        let text = "use std::fs;\nuse candle_nn::VarMap;";
        assert_file("crates/taper-lab/src/store.rs", text, &["VarMap"]);
        assert_file("crates/taper-experiments/src/main.rs", text, &["VarMap"]);
        for module in
            ["arm.rs", "outcomes.rs", "criterion/count.rs", "stats/mod.rs", "verdict/rule.rs"]
        {
            assert_file(&format!("crates/taper-lab/src/{module}"), "use std::fs;", &["std::fs"]);
        }
        for name in ["kernels", "core", "norm", "bottleneck", "autoencoders", "classical"] {
            assert_file(&format!("crates/taper-{name}/src/lib.rs"), "use std::fs;", &["std::fs"]);
        }
    }
}
