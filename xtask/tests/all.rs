//! The commands, with a shell script in the place of cargo.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

/// Runs xtask where cargo is a script with this text.
fn xtask(cargo: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cargo");
    fs::write(&path, format!("#!/bin/sh\n{cargo}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("CARGO", &path).args(arguments).output().unwrap()
}

#[test]
fn tapers_arguments_go_on_untouched() {
    let output = xtask(r#"printf '%s\n' "$@""#, &["run", "a b", "--set", "x=1", "--", "--help"]);
    let manifest =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).with_file_name("Cargo.toml");
    let expected = format!(
        "run\n--release\n--package\ntaper-experiments\n--bin\ntaper\n--manifest-path\n{}\n--\n\
         run\na b\n--set\nx=1\n--\n--help\n",
        manifest.display()
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
}

#[test]
fn all_of_tapers_commands_are_passed_on() {
    for command in ["list", "run", "reproduce", "report", "tune", "new"] {
        let output = xtask(r#"shift 9; printf '%s ' "$@""#, &[command, "--help"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{command} --help "));
    }
}

#[test]
fn benchs_arguments_go_on_untouched_but_for_the_peers() {
    let output = xtask(r#"printf '%s ' "$@""#, &["bench", "--bench", "norms", "--", "--only"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "bench --package taper-benches --bench norms -- --only ");
    let output = xtask("echo cargo", &["bench", "--only", "mse"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--only, --without and the like go with --peers"), "{said}");
    let output = xtask("echo cargo", &["bench", "--help"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--rounds"));
    let output = xtask("echo cargo", &["bench", "--peers", "--without", "jax"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(r#"--without: "jax" is neither torch nor burn"#), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn peers_that_do_not_build_are_not_measured() {
    let script = r#"printf '%s ' "$@"; exit 7"#;
    let output = xtask(script, &["bench", "--peers", "--without", "torch", "--rounds", "1"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let built = "build --release --locked --package taper-benches --bins --target-dir ";
    assert!(said.starts_with(built), "{said}");
}

#[test]
fn tapers_end_is_xtasks_end() {
    assert_eq!(xtask("exit 2", &["list"]).status.code(), Some(2));
    assert_eq!(xtask("exit 0", &["list"]).status.code(), Some(0));
    let interrupt = 2;
    assert_eq!(xtask("kill -INT $$", &["list"]).status.signal(), Some(interrupt));
}

#[test]
fn ci_stops_at_the_first_step_that_fails() {
    let output = xtask("echo \"$1\"; test \"$1\" != clippy", &["ci"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "fmt\nclippy\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cargo clippy --workspace --all-targets --locked -- -D warnings"),
        "{said}"
    );
    assert!(said.contains("error: ci: step 2 of "), "{said}");
}

#[test]
fn ci_without_nextest_runs_the_tests_with_cargo() {
    let output = xtask("echo \"$1 $2\"; test \"$1\" != nextest", &["ci"]);
    let ran = String::from_utf8_lossy(&output.stdout).into_owned();
    let steps = [
        "fmt --all\nclippy --workspace\ntest --workspace\ntest --workspace\n",
        "test --lib\ntest --lib\nclippy --package\ntest --package\n",
        "doc --workspace\nxtask catalogue\n",
    ]
    .concat();
    assert!(ran.starts_with(&steps), "{ran}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(" steps passed"), "{said}");
}

#[test]
fn a_wrong_command_line_is_told_with_exit_code_2() {
    assert_eq!(xtask("", &["ci", "--fast"]).status.code(), Some(2));
    assert_eq!(xtask("", &["nonsense"]).status.code(), Some(2));
}

#[test]
fn goldens_of_an_unknown_crate_are_refused() {
    let output = xtask("", &["goldens", "taper-nothing"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("no crate \"taper-nothing\" has tests/golden; these do: taper-b"),
        "{said}"
    );
}
