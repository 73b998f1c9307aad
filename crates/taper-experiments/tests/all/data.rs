//! Data sets that are not compiled in.

use taper_data::{DataStore, Files, ImageDataset, ReadPart};

use crate::{good, run, text};

/// Keeps images of MNIST's shape, as many of each class, as a variant of it.
fn keep(store: &DataStore, name: &str, value: u8) {
    let part = |part: &str, count: u32| {
        let labels: Vec<u32> = (0..count).map(|at| at % 10).collect();
        let images = labels.iter().flat_map(|label| [value ^ (20 * *label as u8); 784]).collect();
        let images = ImageDataset::new(images, [1, 28, 28], 255, labels, 10).unwrap();
        ReadPart { name: part.to_owned(), images, files: Files::Unknown }
    };
    let parts = [part("train", 120), part("test", 30)];
    store.keep(&name.parse().unwrap(), &parts, "a test").unwrap();
}

#[test]
fn an_experiment_runs_on_what_is_kept_and_says_which_data_it_was() {
    let store = tempfile::tempdir().unwrap();
    let data = DataStore::at(store.path().join("data"));
    keep(&data, "mnist-tiny", 0);
    for name in ["bn-converges-faster", "linear-ae-is-pca"] {
        let args = ["run", name, "--scale", "smoke", "--seeds", "1", "--set", "data=mnist-tiny"];
        let said = good(store.path(), &args);
        assert!(said.contains(name), "{said}");
    }
    let keys = crate::files(store.path(), "run.toml");
    let digest = data.record(&"mnist-tiny".parse().unwrap()).unwrap().unwrap().parts[1]
        .content_digest
        .clone();
    for key in keys.values() {
        assert!(
            text(key).contains(&format!("\"mnist-tiny/test\" = \"{digest}\"")),
            "{}",
            text(key)
        );
    }
    // Other data is another run.
    keep(&data, "mnist-other", 255);
    let args = ["run", "bn-converges-faster", "--scale", "smoke", "--seeds", "1"];
    good(store.path(), &[&args[..], &["--set", "data=mnist-other"]].concat());
    assert_eq!(crate::files(store.path(), "run.toml").len(), keys.len() + 2);
    assert!(good(store.path(), &["download", "--list"]).contains("mnist-other"));
    // The report says that it was a variant.
    let report = store.path().join("report/bn-converges-faster-smoke/report.md");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("a variant with other images or labels, from a test"), "{report}");
    // Images that were changed are found before any run.
    std::fs::write(store.path().join("data/mnist-other/test.images"), "rubbish").unwrap();
    let output = run(store.path(), &[&args[..], &["--set", "data=mnist-other"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not what was kept"), "{}", text(&output.stderr));
}

#[test]
fn data_that_is_not_here_is_said_with_the_command_that_fetches_it() {
    let store = tempfile::tempdir().unwrap();
    let output = run(store.path(), &["run", "bn-converges-faster", "--scale", "paper"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("mnist is not on this machine"), "{said}");
    assert!(said.contains("`cargo xtask download mnist`"), "{said}");
    let args = ["run", "bn-converges-faster", "--set", "data=mnst"];
    let said = text(&run(store.path(), &args).stderr);
    assert!(said.contains("did you mean `mnist`?"), "{said}");
}

#[test]
fn data_sets_are_listed_and_wrong_names_refused() {
    let store = tempfile::tempdir().unwrap();
    let said = good(store.path(), &["download", "--list"]);
    for name in ["digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100"] {
        assert!(said.contains(name), "{said}");
    }
    for (args, expected) in [
        (&["download", "mnst"][..], "did you mean `mnist`?"),
        (&["download"], "required"),
        (&["download", "--all", "mnist"], "cannot be used with"),
        (&["download", "mnist", "--weights", "a/b"], "cannot be used with"),
        (&["download", "mnist", "--file", "b.safetensors"], "cannot be used with"),
    ] {
        let output = run(store.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_binary_without_downloads_says_how_to_get_one_with_them() {
    let store = tempfile::tempdir().unwrap();
    let output = run(store.path(), &["download", "mnist"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("built without downloads") && said.contains("--features hub"), "{said}");
    let said = text(&run(store.path(), &["download", "--weights", "a/b"]).stderr);
    assert!(said.contains("`cargo xtask download --weights a/b` builds them"), "{said}");
}
