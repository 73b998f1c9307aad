use xtask::tidy::banned::check;

use crate::{assert_problems, assert_tidy, repository, tree};

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
    for module in ["arm.rs", "outcomes.rs", "criterion/count.rs", "stats/mod.rs", "verdict/rule.rs"]
    {
        assert_file(&format!("crates/taper-lab/src/{module}"), "use std::fs;", &["std::fs"]);
    }
    for name in ["kernels", "core", "norm", "bottleneck", "autoencoders", "classical"] {
        assert_file(&format!("crates/taper-{name}/src/lib.rs"), "use std::fs;", &["std::fs"]);
    }
}
