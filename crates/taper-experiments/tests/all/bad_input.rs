//! Each mistake gets one paragraph with the remedy and exit code 2, no panic, no backtrace, and
//! nothing is lost.

use std::fs;

use crate::{files, good, run, text};

/// What `taper ARGS` says on standard error when it refuses.
fn refusal(args: &[&str]) -> String {
    let store = tempfile::tempdir().unwrap();
    let output = run(store.path(), args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
    assert!(output.stdout.is_empty());
    assert!(files(store.path(), "done.toml").is_empty());
    said
}

const SMOKE: [&str; 4] = ["run", "bn-converges-faster", "--scale", "smoke"];

fn refusal_of(set: &str) -> String {
    refusal(&[&SMOKE[..], &["--set", set]].concat())
}

#[test]
fn a_misspelt_key() {
    let said = refusal_of("lerning_rate=0.1");
    assert!(said.contains("--set lerning_rate=0.1: unknown key `lerning_rate`"), "{said}");
    assert!(said.contains("did you mean `learning_rate`?"), "{said}");
    assert!(refusal_of("arms.bm.learning_rate=0.1").contains("did you mean `bn`?"));
    assert!(refusal_of("arms.bn.learning_rat=0.1").contains("did you mean `learning_rate`?"));
    assert!(refusal_of("arms.bn=3").contains("names an arm but none of its settings"));
    assert!(refusal_of("steps").contains("KEY=VALUE"));
}

#[test]
fn a_wrong_type() {
    let said = refusal_of("steps=many");
    assert!(
        said.contains("`steps`: expected a whole number, 0 or more, got string \"many\""),
        "{said}"
    );
    assert!(refusal_of("norm=bach").contains("did you mean \"batch\"?"));
}

#[test]
fn a_scale_that_does_not_exist() {
    let said = refusal(&["run", "bn-converges-faster", "--scale", "hug"]);
    assert!(said.contains("hug") && said.contains("smoke, quick, paper"), "{said}");
}

#[test]
fn an_experiment_that_does_not_exist() {
    let said = refusal(&["run", "bn-converge-faster"]);
    assert!(said.contains("did you mean `bn-converges-faster`?"), "{said}");
}

#[test]
fn a_store_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let output = run(&file, &SMOKE);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot be written") && said.contains("--store DIR"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn settings_that_no_model_can_have() {
    for set in ["hidden=[0]", "batch_size=0", "train_fraction=1.5", "init_std=-1.0"] {
        let store = tempfile::tempdir().unwrap();
        let output = run(store.path(), &[&SMOKE[..], &["--set", set]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{set}: {said}");
        assert!(!said.contains("panicked"), "{set}: {said}");
    }
}

#[test]
fn a_truncated_record_is_set_aside_said_and_made_again() {
    let store = tempfile::tempdir().unwrap();
    let args = ["run", "losses-are-what-they-say", "--scale", "smoke"];
    good(store.path(), &args);
    let before = files(store.path(), "metrics.jsonl");
    let (name, bytes) = before.iter().next().unwrap();
    fs::write(store.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
    let output = run(store.path(), &args);
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("set aside in"), "{said}");
    assert_eq!(files(store.path(), "metrics.jsonl"), before);
}
