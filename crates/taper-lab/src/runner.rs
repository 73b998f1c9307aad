//! Makes the runs of a plan: several at a time, each one resumable, each one to its end or saved.

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use candle_core::{Device, Tensor};
use taper_core::Snapshot;

use crate::arm::{Arm, Record};
use crate::error::{BoxError, Error, Result};
use crate::experiment::Context;
use crate::plan::Run;
use crate::store::{RunDir, Standing, Store, Stretch};

/// A run that is not finished is saved this often.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// How often to look whether another process is done with a run.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How runs are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options<'a> {
    /// Runs at a time.
    pub(crate) jobs: NonZeroUsize,
    /// Where tensors live.
    pub(crate) device: &'a Device,
    /// Takes finished runs of older sources for this version's.
    pub(crate) accept_older_code: bool,
    /// Saves and leaves each run after this many of its steps.
    pub(crate) stop_after: Option<u64>,
    /// Set from outside (Ctrl-C): every run is saved at its next step.
    pub(crate) stop: &'a AtomicBool,
}

/// What happens while runs are made, for a progress bar.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// So many runs are there already, so many are to be made.
    Planned {
        /// Found finished.
        finished: usize,
        /// To be made.
        open: usize,
        /// Of those, saved part-way.
        begun: usize,
    },
    /// A damaged run was moved away and will be made again.
    SetAside {
        /// The run's folder.
        from: PathBuf,
        /// Where it went.
        to: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// A run is now at this fraction.
    At {
        /// Which, by its place in the plan.
        index: usize,
        /// From 0 to 1.
        fraction: f64,
    },
    /// A run ended well.
    Finished {
        /// The run.
        run: &'a Run<'a>,
    },
    /// A run failed.
    Failed {
        /// What it said.
        message: String,
    },
}

/// Brings every run of the plan to its end; those that are there already are not made again.
///
/// Runs are independent: a failing one is reported and the others go on.
pub(crate) fn execute(
    store: &Store,
    runs: &[Run<'_>],
    options: Options<'_>,
    observe: &(dyn Fn(Event<'_>) + Sync),
) -> Result<()> {
    let mut open = VecDeque::new();
    for (index, run) in runs.iter().enumerate() {
        if find(store, run, options.accept_older_code)?.is_some() {
            continue;
        }
        let dir = store.run(&run.key)?;
        if let Standing::Damaged(reason) = dir.standing() {
            let to = store.set_aside(&dir)?;
            observe(Event::SetAside { from: dir.path().to_owned(), to, reason });
        }
        open.push_back((index, run, dir));
    }
    let planned = open.len();
    let begun = open.iter().filter(|(_, _, dir)| dir.is_begun()).count();
    observe(Event::Planned { finished: runs.len() - planned, open: planned, begun });

    let queue = Mutex::new(open);
    let failures: Mutex<Vec<Error>> = Mutex::new(Vec::new());
    let interrupted = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.get().min(planned) {
            scope.spawn(|| {
                while let Some((index, run, dir)) = next(&queue, options.stop) {
                    let advance = |fraction| observe(Event::At { index, fraction });
                    match guarded(run, &dir, options, &advance) {
                        Ok(Ended::Whole) => observe(Event::Finished { run }),
                        Ok(Ended::Saved) => interrupted.store(true, Ordering::Relaxed),
                        Err(error) => {
                            observe(Event::Failed { message: error.to_string() });
                            failures.lock().unwrap_or_else(|held| held.into_inner()).push(error);
                        }
                    }
                }
            });
        }
    });

    let mut failures = failures.into_inner().unwrap_or_else(|held| held.into_inner());
    if options.stop.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    match failures.len() {
        0 => Ok(()),
        1 if planned == 1 => Err(failures.remove(0)),
        failed => Err(Error::Failed { failed, planned, first: failures[0].to_string() }),
    }
}

/// The finished run with this key, or with `accept_older_code` one of older sources; the flag says
/// which it is.
pub(crate) fn find(store: &Store, run: &Run<'_>, accept_older_code: bool) -> Result<Option<Found>> {
    let dir = store.run(&run.key)?;
    if let Standing::Finished(history) = dir.standing() {
        return Ok(Some(Found { dir, history, older: false }));
    }
    if accept_older_code
        && let Some(dir) = store.older(&run.key)?
        && let Standing::Finished(history) = dir.standing()
    {
        return Ok(Some(Found { dir, history, older: true }));
    }
    Ok(None)
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its folder.
    pub(crate) dir: RunDir,
    /// What it recorded.
    pub(crate) history: crate::arm::History,
    /// Whether older sources made it.
    pub(crate) older: bool,
}

enum Ended {
    Whole,
    Saved,
}

type Queue<'r, 'a> = Mutex<VecDeque<(usize, &'r Run<'a>, RunDir)>>;

fn next<'r, 'a>(queue: &Queue<'r, 'a>, stop: &AtomicBool) -> Option<(usize, &'r Run<'a>, RunDir)> {
    if stop.load(Ordering::Relaxed) {
        return None;
    }
    queue.lock().unwrap_or_else(|held| held.into_inner()).pop_front()
}

/// A run whose panic is an error of that run alone.
fn guarded(
    run: &Run<'_>,
    dir: &RunDir,
    options: Options<'_>,
    advance: &dyn Fn(f64),
) -> Result<Ended> {
    catch_unwind(AssertUnwindSafe(|| make(run, dir, options, advance))).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(failed(run, format!("the arm panicked, which is a defect of its code: {said}").into()))
    })
}

fn make(run: &Run<'_>, dir: &RunDir, options: Options<'_>, advance: &dyn Fn(f64)) -> Result<Ended> {
    let Some(lock) = wait_for(run, dir, options.stop)? else { return Ok(Ended::Saved) };
    if let Standing::Finished(_) = dir.standing() {
        // The process that held the run has made it.
        return Ok(Ended::Whole);
    }
    let begun = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut times = dir.times();
    let stretch = |steps| Stretch { started, seconds: begun.elapsed().as_secs_f64(), steps };

    let context =
        Context { seed: run.key.seed, role: run.key.role, device: options.device.clone() };
    let mut arm = run.entry.arm(&run.key.settings, &context).map_err(|error| failed(run, error))?;
    let mut record = match dir.checkpoint()? {
        Some(bytes) => thaw(&bytes, arm.as_mut()).map_err(|error| failed(run, error))?,
        None => {
            times.clear();
            Record::default()
        }
    };
    let total = arm.steps();
    let first = record.step();
    let mut saved = Instant::now();
    while record.step() < total {
        let leave = options.stop.load(Ordering::Relaxed)
            || options.stop_after.is_some_and(|limit| record.step() - first >= limit);
        if leave || saved.elapsed() >= SAVE_EVERY {
            let checkpoint = freeze(arm.as_ref(), &record).map_err(|error| failed(run, error))?;
            let mut so_far = times.clone();
            so_far.push(stretch(record.step()));
            dir.save(&checkpoint, &so_far)?;
            saved = Instant::now();
        }
        if leave {
            return Ok(Ended::Saved);
        }
        let flow = arm.step(&mut record).map_err(|error| failed(run, error))?;
        record.advance();
        advance(record.step() as f64 / total as f64);
        if flow == ControlFlow::Break(()) {
            break;
        }
    }
    arm.measure(&mut record).map_err(|error| failed(run, error))?;
    times.push(stretch(record.step()));
    dir.finish(record.bytes(), record.step(), &times)?;
    drop(lock);
    Ok(Ended::Whole)
}

/// The run's lock, once no other process makes this run; none when asked to stop before that.
fn wait_for(run: &Run<'_>, dir: &RunDir, stop: &AtomicBool) -> Result<Option<File>> {
    loop {
        if let Some(lock) = dir.begin(&run.key)? {
            return Ok(Some(lock));
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// An arm's whole state and its record, as the bytes of a safetensors file.
fn freeze(arm: &dyn Arm, record: &Record) -> std::result::Result<Vec<u8>, BoxError> {
    let mut snapshot = Snapshot::new();
    snapshot.put("arm", arm)?;
    snapshot.put_u64("step", record.step());
    let lines = record.bytes();
    snapshot.put_tensor("record", &Tensor::from_slice(lines, lines.len(), &Device::Cpu)?);
    Ok(snapshot.to_bytes()?)
}

/// The way back: restores the arm and returns the record.
fn thaw(bytes: &[u8], arm: &mut dyn Arm) -> std::result::Result<Record, BoxError> {
    let snapshot = Snapshot::from_bytes(bytes, &Device::Cpu)?;
    snapshot.get("arm", arm)?;
    let lines = snapshot.get_tensor("record")?.to_vec1::<u8>()?;
    Ok(Record::resume(snapshot.get_u64("step")?, lines))
}

fn failed(run: &Run<'_>, source: BoxError) -> Error {
    Error::Arm {
        experiment: run.key.experiment.clone(),
        arm: run.key.arm.clone(),
        seed: run.key.seed,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::experiment::Registry;
    use crate::key::DeviceKind;
    use crate::plan::{Machinery, Selection};
    use crate::spec::Scale;
    use crate::toy::Toy;

    static GO_ON: AtomicBool = AtomicBool::new(false);

    fn options(jobs: usize) -> Options<'static> {
        Options {
            jobs: NonZeroUsize::new(jobs).unwrap(),
            device: &Device::Cpu,
            accept_older_code: false,
            stop_after: None,
            stop: &GO_ON,
        }
    }

    fn machinery(sources: &str) -> Machinery<'_> {
        Machinery { sources, device: DeviceKind::Cpu }
    }

    /// What happened while the toy ran: (made, set aside, failed).
    #[derive(Debug, Default, PartialEq)]
    struct Seen {
        made: usize,
        set_aside: Vec<String>,
        failed: usize,
    }

    fn run(root: &Path, set: &[&str], sources: &str, options: Options<'_>) -> (Result<()>, Seen) {
        let registry = Registry::new().with::<Toy>();
        let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        let selection =
            Selection::new(registry.find("toy").unwrap(), Scale::Quick, None, &set).unwrap();
        let runs = selection.runs(machinery(sources)).unwrap();
        assert_eq!(runs.len(), 6);
        let seen = Mutex::new(Seen::default());
        let store = Store::open(root).unwrap();
        let result = execute(&store, &runs, options, &|event| {
            let mut seen = seen.lock().unwrap();
            match event {
                Event::Finished { .. } => seen.made += 1,
                Event::SetAside { reason, .. } => seen.set_aside.push(reason),
                Event::Failed { .. } => seen.failed += 1,
                _ => {}
            }
        });
        (result, seen.into_inner().unwrap())
    }

    /// Every metrics file of a store by its path within it.
    fn metrics(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![root.join("runs")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with("metrics.jsonl") {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
        found
    }

    fn made(count: usize) -> Seen {
        Seen { made: count, ..Seen::default() }
    }

    #[test]
    fn the_same_keys_give_the_same_bytes_for_any_number_of_jobs() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run(one.path(), &[], "a", options(1)).0.unwrap();
        run(two.path(), &[], "a", options(4)).0.unwrap();
        assert_eq!(metrics(one.path()).len(), 6);
        assert_eq!(metrics(one.path()), metrics(two.path()));
    }

    #[test]
    fn finished_runs_are_not_made_again_and_a_deleted_one_alone_is() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(run(store.path(), &[], "a", options(2)).1, made(6));
        assert_eq!(run(store.path(), &[], "a", options(2)).1, made(0));
        let before = metrics(store.path());
        let victim = store.path().join(before.keys().next().unwrap());
        fs::remove_dir_all(victim.parent().unwrap()).unwrap();
        assert_eq!(run(store.path(), &[], "a", options(2)).1, made(1));
        assert_eq!(metrics(store.path()), before);
    }

    #[test]
    fn a_run_that_is_stopped_at_any_step_ends_with_the_same_bytes() {
        let through = tempfile::tempdir().unwrap();
        run(through.path(), &[], "a", options(1)).0.unwrap();
        for stop_after in [0, 1, 7, 19] {
            let stopped = tempfile::tempdir().unwrap();
            let first = Options { stop_after: Some(stop_after), ..options(2) };
            let (result, seen) = run(stopped.path(), &[], "a", first);
            assert!(matches!(result, Err(Error::Interrupted)));
            assert_eq!(seen, made(0));
            assert!(metrics(stopped.path()).is_empty());
            run(stopped.path(), &[], "a", options(2)).0.unwrap();
            assert_eq!(metrics(stopped.path()), metrics(through.path()));
        }
    }

    #[test]
    fn a_truncated_or_changed_record_is_set_aside_and_made_again() {
        for damage in [b"".as_slice(), b"{\"step\":0", b"x"] {
            let store = tempfile::tempdir().unwrap();
            run(store.path(), &[], "a", options(1)).0.unwrap();
            let before = metrics(store.path());
            let name = before.keys().next().unwrap();
            fs::write(store.path().join(name), damage).unwrap();
            let (result, seen) = run(store.path(), &[], "a", options(1));
            result.unwrap();
            assert_eq!((seen.made, seen.set_aside.len()), (1, 1));
            assert!(seen.set_aside[0].contains("metrics.jsonl has"), "{:?}", seen.set_aside);
            assert_eq!(metrics(store.path()), before);
            assert_eq!(fs::read_dir(store.path().join("set-aside")).unwrap().count(), 1);
        }
    }

    #[test]
    fn other_sources_or_settings_make_new_runs_unless_older_code_is_accepted() {
        let store = tempfile::tempdir().unwrap();
        run(store.path(), &[], "a", options(1)).0.unwrap();
        let accepting = Options { accept_older_code: true, ..options(1) };
        assert_eq!(run(store.path(), &[], "b", accepting).1, made(0));
        assert_eq!(run(store.path(), &["steps=21"], "b", accepting).1, made(6));
        assert_eq!(run(store.path(), &[], "b", options(1)).1, made(6));
        // A whole number for a real one is the same setting.
        assert_eq!(run(store.path(), &["arms.slow.rate=0.010"], "b", options(1)).1, made(0));
        assert_eq!(run(store.path(), &["arms.slow.rate=0.02"], "b", options(1)).1, made(3));
    }

    #[test]
    fn a_failing_run_and_a_panicking_one_leave_the_others_whole() {
        let store = tempfile::tempdir().unwrap();
        let (result, seen) = run(store.path(), &["arms.slow.fail_at=5"], "a", options(2));
        assert_eq!(seen, Seen { made: 3, failed: 3, ..Seen::default() });
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains("3 of 6 runs failed") && message.contains("asked to fail"),
            "{message}"
        );
        let (result, _) = run(store.path(), &["arms.fast.fail_at=5"], "a", options(2));
        assert!(result.unwrap_err().to_string().contains("asked to panic"));
    }

    #[test]
    fn a_run_that_another_process_holds_is_waited_for() {
        let store = tempfile::tempdir().unwrap();
        let registry = Registry::new().with::<Toy>();
        let selection =
            Selection::new(registry.find("toy").unwrap(), Scale::Quick, None, &[]).unwrap();
        let runs = selection.runs(machinery("a")).unwrap();
        let dir = Store::open(store.path()).unwrap().run(&runs[0].key).unwrap();
        let held = dir.begin(&runs[0].key).unwrap().unwrap();
        assert!(dir.begin(&runs[0].key).unwrap().is_none());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| run(store.path(), &[], "a", options(2)));
            std::thread::sleep(LOOK_AGAIN);
            assert!(!other.is_finished());
            drop(held);
            let (result, seen) = other.join().unwrap();
            result.unwrap();
            assert_eq!(seen, made(6));
        });
    }
}
