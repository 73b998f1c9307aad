//! The options that choose runs, and the ones that say how to make them.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::Build;
use crate::error::{Error, Result};
use crate::experiment::{Entry, Registry};
use crate::key::DeviceKind;
use crate::plan::{Machinery, Run, Selection};
use crate::runner::{self, Options};
use crate::spec::Scale;
use crate::store::Store;

/// Where runs are kept.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The folder that keeps the runs and the report.
    #[arg(long, value_name = "DIR", env = "TAPER_STORE", default_value = "taper-store")]
    store: PathBuf,
    /// Take finished runs of older sources where there is none of this version's; the report says so.
    #[arg(long)]
    pub(super) accept_older_code: bool,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t = DeviceKind::Cpu)]
    device: DeviceKind,
}

/// Which runs of an experiment.
#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// The size of the experiment.
    #[arg(long, value_enum, default_value_t = Scale::Quick)]
    pub(super) scale: Scale,
    /// The number of seeds, in place of the spec's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(super) seeds: Option<u64>,
    /// Sets a setting of every arm (lr=0.1) or of one (arms.bn.lr=0.1); may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// How runs are made.
#[derive(Debug, Args)]
pub(super) struct MakeArgs {
    /// Runs at a time; all processors when not given.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Save and leave each run after this many of its steps; the same command goes on from there.
    #[arg(long, value_name = "STEPS")]
    stop_after: Option<u64>,
}

impl MakeArgs {
    /// Runs at a time.
    pub(super) fn jobs(&self) -> NonZeroUsize {
        let processors = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        self.jobs.unwrap_or_else(processors)
    }
}

impl StoreArgs {
    pub(super) fn open(&self) -> Result<Store> {
        Store::open(&self.store)
    }

    pub(super) fn machinery<'a>(&self, build: &'a Build) -> Machinery<'a> {
        Machinery { sources: build.sources, device: self.device }
    }
}

impl SelectArgs {
    pub(super) fn select<'a>(&self, entry: &'a Entry) -> Result<Selection<'a>> {
        Selection::new(entry, self.scale, self.seeds, &self.set)
    }
}

/// The experiments with these names, each once; all of them when there are none.
pub(super) fn entries<'a>(registry: &'a Registry, names: &[String]) -> Result<Vec<&'a Entry>> {
    if names.is_empty() {
        return Ok(registry.checked()?.iter().collect());
    }
    let mut entries: Vec<&Entry> = Vec::new();
    for name in names {
        let entry = registry.find(name)?;
        if !entries.iter().any(|other| other.spec.name == entry.spec.name) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Makes the runs, with a progress bar where a person watches.
pub(super) fn make(
    store: &Store,
    runs: &[Run<'_>],
    place: &StoreArgs,
    how: &MakeArgs,
) -> Result<()> {
    let device = place.device.open()?;
    let options = Options {
        jobs: how.jobs(),
        device: &device,
        accept_older_code: place.accept_older_code,
        stop_after: how.stop_after,
        stop: stop_on_ctrl_c()?,
    };
    let progress = super::progress::Progress::new(runs.len());
    let result = runner::execute(store, runs, options, &|event| progress.observe(&event));
    progress.close();
    result
}

/// The flag that Ctrl-C sets. The first asks every run to save itself; a second leaves at once, which
/// loses the steps since the last save and nothing else.
fn stop_on_ctrl_c() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
        eprintln!("\nstopping: each run is saved at its next step (once more to leave at once)");
    };
    match ctrlc::set_handler(handler) {
        Ok(()) | Err(ctrlc::Error::MultipleHandlers) => Ok(&STOP),
        Err(error) => Err(Error::Internal(format!("Ctrl-C cannot be caught: {error}"))),
    }
}
