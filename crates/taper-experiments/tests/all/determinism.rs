//! The same key gives the same bytes: in two stores, with any number of jobs and threads, and when a
//! run is stopped part-way and goes on in another process.

use crate::{EXPERIMENTS, files, good, run, taper, text};

#[test]
fn two_stores_and_any_number_of_jobs_and_threads() {
    for name in EXPERIMENTS {
        let args = ["run", name, "--scale", "smoke"];
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let with = |store: &std::path::Path, threads: &str, jobs: &str| {
            let mut command = taper(store, &[&args[..], &["--jobs", jobs]].concat());
            let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            files(store, "metrics.jsonl")
        };
        let first = with(one.path(), "1", "1");
        assert!(!first.is_empty());
        assert_eq!(first, with(two.path(), "2", "3"), "{name}");
    }
}

#[test]
fn stopped_at_a_step_and_continued_in_a_new_process() {
    for name in EXPERIMENTS {
        let args = ["run", name, "--scale", "smoke"];
        let through = tempfile::tempdir().unwrap();
        good(through.path(), &args);
        let whole = files(through.path(), "metrics.jsonl");
        for stop_after in ["1", "3"] {
            let stopped = tempfile::tempdir().unwrap();
            let mut processes = 0;
            while files(stopped.path(), "metrics.jsonl").len() < whole.len() {
                let output =
                    run(stopped.path(), &[&args[..], &["--stop-after", stop_after]].concat());
                assert!(matches!(output.status.code(), Some(0 | 130)), "{}", text(&output.stderr));
                processes += 1;
                assert!(processes < 40, "{name} never ends");
            }
            assert!(processes > 1, "{name} was not stopped");
            assert_eq!(files(stopped.path(), "metrics.jsonl"), whole, "{name} by {stop_after}");
        }
    }
}

#[test]
fn a_deleted_run_alone_is_made_again() {
    let store = tempfile::tempdir().unwrap();
    let args = ["run", "losses-are-what-they-say", "--scale", "smoke"];
    good(store.path(), &args);
    let before = files(store.path(), "times.jsonl");
    let victim = before.keys().next().unwrap();
    std::fs::remove_dir_all(store.path().join(victim).parent().unwrap()).unwrap();
    let output = run(store.path(), &args);
    let said = text(&output.stderr);
    assert!(
        said.contains(&format!("1 runs to make, {} are in the store", before.len() - 1)),
        "{said}"
    );
    let after = files(store.path(), "times.jsonl");
    assert_eq!(after.len(), before.len());
    let made_again = before.iter().filter(|(name, times)| after[*name] != **times);
    assert_eq!(made_again.map(|(name, _)| name).collect::<Vec<_>>(), [victim]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_the_store_whole() {
    let store = tempfile::tempdir().unwrap();
    let args = ["run", "bn-converges-faster", "--scale", "smoke", "--set", "steps=1000000"];
    let mut child = taper(store.path(), &args)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The runs' folders appear when the first steps are taken.
    while files(store.path(), "run.toml").is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(files(store.path(), "done.toml").is_empty());
    assert!(!files(store.path(), "checkpoint.safetensors").is_empty());
}
