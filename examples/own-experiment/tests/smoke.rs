//! The experiment runs from end to end at its smallest scale and writes its report.

use std::path::Path;
use std::process::Command;

#[test]
fn it_runs_and_reports() {
    let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smoke-store");
    let ran = Command::new(env!("CARGO_BIN_EXE_own-experiment"))
        .args(["run", "own-experiment", "--scale", "smoke", "--store"])
        .arg(&store)
        .status()
        .expect("the binary was just built");
    assert!(ran.success());
    assert!(store.join("report/own-experiment-smoke/index.html").is_file());
    std::fs::remove_dir_all(store).expect("the test made it");
}
