//! The run store: one folder a run, each file written whole or not at all.
//!
//! ```text
//! <store>/runs/<experiment>/<arm>/seed-<seed>-<key>/
//!   run.toml                the key
//!   metrics.jsonl           what the arm recorded, the same bytes for the same key
//!   times.jsonl             when and how long, kept apart
//!   done.toml               written last: the size and digest of metrics.jsonl
//!   checkpoint.safetensors  while the run is unfinished
//! <store>/set-aside/        runs whose files were damaged
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::arm::History;
use crate::error::{Error, Result};
use crate::key::{RunKey, hex};

const RUN: &str = "run.toml";
const METRICS: &str = "metrics.jsonl";
const TIMES: &str = "times.jsonl";
const DONE: &str = "done.toml";
const CHECKPOINT: &str = "checkpoint.safetensors";
const LOCK: &str = "lock";

/// How the name of a file that is being written starts.
const UNFINISHED: &str = ".writing-";

/// A folder of runs.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// One run's folder.
#[derive(Debug, Clone)]
pub(crate) struct RunDir {
    path: PathBuf,
}

/// Where a run stands.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Finished, with what it recorded.
    Finished(History),
    /// Not started, or stopped part-way.
    Open,
    /// Its files do not fit together; the reason.
    Damaged(String),
}

/// The last file of a run: it vouches for the metrics.
#[derive(Debug, Serialize, Deserialize)]
struct Done {
    steps: u64,
    metrics_bytes: u64,
    metrics_sha256: String,
}

/// How long a stretch of a run took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Stretch {
    /// Seconds since 1970 at its start.
    pub(crate) started: u64,
    /// Its wall-clock length.
    pub(crate) seconds: f64,
    /// The finished steps at its end.
    pub(crate) steps: u64,
}

impl Store {
    /// Opens the store at `root`, making it if need be, and makes sure that it can be written.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let usable = fs::create_dir_all(root).and_then(|()| tempfile::tempfile_in(root));
        match usable {
            Ok(_) => Ok(Self { root: root.to_owned() }),
            Err(error) => Err(Error::Usage(format!(
                "the store {} cannot be written ({error}); choose a folder that can, with --store DIR or \
                 TAPER_STORE=DIR. Nothing was lost",
                root.display()
            ))),
        }
    }

    /// The store's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the run with this key.
    pub(crate) fn run(&self, key: &RunKey) -> Result<RunDir> {
        let digest = key.digest()?;
        let short = digest.get(..12).unwrap_or(&digest);
        let name = format!("seed-{}-{short}", key.seed);
        Ok(RunDir { path: self.arm_dir(key).join(name) })
    }

    /// A finished run of the same key but for older sources, if there is one; of several, the one that
    /// was finished last.
    pub(crate) fn older(&self, key: &RunKey) -> Result<Option<RunDir>> {
        let Ok(entries) = fs::read_dir(self.arm_dir(key)) else {
            return Ok(None);
        };
        let mut found: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let same = RunDir { path: path.clone() }
                .key()
                .is_ok_and(|other| key.differs_in_sources_only(&other));
            if let (true, Ok(done)) =
                (same, fs::metadata(path.join(DONE)).and_then(|meta| meta.modified()))
            {
                found.push((done, path));
            }
        }
        Ok(found.into_iter().max().map(|(_, path)| RunDir { path }))
    }

    /// Moves a damaged run out of the way and tells where it went.
    pub(crate) fn set_aside(&self, run: &RunDir) -> Result<PathBuf> {
        let aside = self.root.join("set-aside");
        fs::create_dir_all(&aside)
            .map_err(Error::io("make the folder for damaged runs", &aside))?;
        let name = run.path.strip_prefix(self.root.join("runs")).unwrap_or(&run.path);
        let flat = name.to_string_lossy().replace(['/', '\\'], "--");
        let target = (1..)
            .map(|count| aside.join(format!("{flat}--{count}")))
            .find(|candidate| !candidate.exists())
            .unwrap_or_else(|| aside.join(&flat));
        fs::rename(&run.path, &target)
            .map_err(Error::io("set the damaged run aside", &run.path))?;
        Ok(target)
    }

    fn arm_dir(&self, key: &RunKey) -> PathBuf {
        self.root.join("runs").join(&key.experiment).join(&key.arm)
    }
}

impl RunDir {
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder and its `run.toml`, and takes the run's lock: held until the value is dropped,
    /// and by the system's doing also when the process is killed. `None` while another process has it.
    pub(crate) fn begin(&self, key: &RunKey) -> Result<Option<File>> {
        fs::create_dir_all(&self.path).map_err(Error::io("make the run's folder", &self.path))?;
        let path = self.path.join(LOCK);
        let lock = File::create(&path).map_err(Error::io("make the run's lock", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock the run", &path)(error)),
        }
        self.sweep();
        self.write(RUN, key.to_toml()?.as_bytes())?;
        Ok(Some(lock))
    }

    /// The key of the run.
    pub(crate) fn key(&self) -> Result<RunKey> {
        let path = self.path.join(RUN);
        let text = fs::read_to_string(&path).map_err(Error::io("read the run's key", &path))?;
        toml::from_str(&text)
            .map_err(|error| Error::Internal(format!("{}: {error}", path.display())))
    }

    /// Where the run stands, its files checked.
    pub(crate) fn standing(&self) -> Standing {
        let Ok(done) = fs::read_to_string(self.path.join(DONE)) else {
            return Standing::Open;
        };
        let done: Done = match toml::from_str(&done) {
            Ok(done) => done,
            Err(error) => {
                return Standing::Damaged(format!("{DONE} cannot be read: {}", error.message()));
            }
        };
        let bytes = match fs::read(self.path.join(METRICS)) {
            Ok(bytes) => bytes,
            Err(error) => return Standing::Damaged(format!("{METRICS} cannot be read: {error}")),
        };
        if bytes.len() as u64 != done.metrics_bytes {
            return Standing::Damaged(format!(
                "{METRICS} has {} bytes where {} were written",
                bytes.len(),
                done.metrics_bytes
            ));
        }
        if hex(&Sha256::digest(&bytes)) != done.metrics_sha256 {
            return Standing::Damaged(format!("{METRICS} was changed after the run"));
        }
        match History::parse(&bytes) {
            Ok(history) => Standing::Finished(history),
            Err(error) => Standing::Damaged(format!("{METRICS}, {error}")),
        }
    }

    /// The sha256 of the run's metrics, as its `done.toml` has it.
    pub(crate) fn metrics_digest(&self) -> Option<String> {
        let done = fs::read_to_string(self.path.join(DONE)).ok()?;
        toml::from_str(&done).ok().map(|done: Done| done.metrics_sha256)
    }

    /// The checkpoint's bytes, if the run was stopped part-way.
    pub(crate) fn checkpoint(&self) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(CHECKPOINT);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read the checkpoint", &path)(error)),
        }
    }

    /// Whether the run was stopped part-way.
    pub(crate) fn is_begun(&self) -> bool {
        self.path.join(CHECKPOINT).is_file()
    }

    /// Saves a run part-way. The checkpoint holds the record too, so one file is the whole state.
    pub(crate) fn save(&self, checkpoint: &[u8], times: &[Stretch]) -> Result<()> {
        self.write_times(times)?;
        self.write(CHECKPOINT, checkpoint)
    }

    /// Writes the last files of a run, `done.toml` after all others.
    pub(crate) fn finish(&self, metrics: &[u8], steps: u64, times: &[Stretch]) -> Result<()> {
        self.write(METRICS, metrics)?;
        self.write_times(times)?;
        let done = Done {
            steps,
            metrics_bytes: metrics.len() as u64,
            metrics_sha256: hex(&Sha256::digest(metrics)),
        };
        let text =
            toml::to_string(&done).map_err(|error| Error::Internal(format!("{DONE}: {error}")))?;
        self.write(DONE, text.as_bytes())?;
        for left in [CHECKPOINT, LOCK] {
            match fs::remove_file(self.path.join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &self.path.join(left))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The stretches in which the run was made; empty when the file is not there or not readable.
    pub(crate) fn times(&self) -> Vec<Stretch> {
        let text = fs::read_to_string(self.path.join(TIMES)).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Removes what a killed process was writing.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                // A file that stays does no harm: nothing reads it.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn write_times(&self, times: &[Stretch]) -> Result<()> {
        let mut text = String::new();
        for stretch in times {
            let line = serde_json::to_string(stretch)
                .map_err(|error| Error::Internal(format!("{TIMES}: {error}")))?;
            text.push_str(&line);
            text.push('\n');
        }
        self.write(TIMES, text.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path.join(name), bytes)
    }
}

/// Writes a file whole or not at all: a temporary file beside it, synced, then renamed.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        // A temporary file is private; what is kept is as readable as any other file of the user's.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The rename itself is durable once the folder is synced; Windows cannot open a folder so.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(())
    };
    write().map_err(Error::io("write", path))
}
