//! The hub's cache, which all its tools share.
//!
//! ```text
//! <cache>/datasets--<owner>--<name>/blobs/<sha256>             the files, by their hash
//!                                  /blobs/<sha256>.incomplete  what has come of one so far
//!                                  /snapshots/<commit>/<path>  links to the files
//!                                  /refs/<revision>            the commit that a branch was at
//!                                  /quarantine/                what was not what it should be
//! <cache>/.locks/datasets--<owner>--<name>/<sha256>.lock
//! ```
//!
//! Those of a model are below `models--<owner>--<name>`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use hf_hub::repository::{RepoType, RepoTypeAny};

use super::Fetched;
use crate::disk::{self, Hashed, write_whole};
use crate::{Error, Result};

/// The cache of one repository.
pub(super) struct Cache {
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    pub(super) fn new(cache: &Path, kind: RepoTypeAny, repository: &str) -> Self {
        let folder = format!("{}--{}", kind.plural(), repository.replace('/', "--"));
        Self { locks: cache.join(".locks").join(&folder), folder: cache.join(folder) }
    }

    /// Where the file with this hash is.
    pub(super) fn blob(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(sha256)
    }

    /// Where what has come of it so far is.
    pub(super) fn incomplete(&self, sha256: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{sha256}.incomplete"))
    }

    /// Takes the lock that the hub's tools take for a file, and makes its folder; `wait` is called where one has it.
    pub(super) fn lock(&self, sha256: &str, wait: impl FnOnce()) -> Result<File> {
        make(&self.folder.join("blobs"))?;
        disk::lock(&self.locks.join(format!("{sha256}.lock")), wait)
    }

    /// Moves a file that is not what it should be out of the way, and tells where it is.
    pub(super) fn quarantine(&self, path: &Path) -> Result<PathBuf> {
        let folder = self.folder.join("quarantine");
        make(&folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut free = (1..).map(|count| folder.join(format!("{name}-{count}")));
        let target = free.find(|target| !target.exists()).unwrap_or_else(|| folder.join(&name));
        fs::rename(path, &target).map_err(Error::io("move out of the way", path))?;
        Ok(target)
    }

    /// Makes the link by which a snapshot of `commit` has the file, and tells where it is.
    pub(super) fn point(&self, commit: &str, name: &str, sha256: &str) -> Result<PathBuf> {
        let path = self.snapshot(commit, name)?;
        let up = 1 + Path::new(name).components().count();
        let target: PathBuf = std::iter::repeat_n("..", up).collect();
        let target = target.join("blobs").join(sha256);
        if fs::read_link(&path).is_ok_and(|there| there == target) {
            return Ok(path);
        }
        make(path.parent().unwrap_or(&self.folder))?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("replace", &path)(error));
            }
            _ => {}
        }
        // Windows lets only some users make links: there it is a copy, as the hub's tools have it.
        #[cfg(unix)]
        std::os::unix::fs::symlink(&target, &path).map_err(Error::io("link", &path))?;
        #[cfg(not(unix))]
        fs::copy(self.blob(sha256), &path).map_err(Error::io("copy", &path)).map(drop)?;
        Ok(path)
    }

    /// Notes which commit a branch or tag was at.
    pub(super) fn refer(&self, revision: &str, commit: &str) -> Result<()> {
        if revision == commit {
            return Ok(());
        }
        write_whole(&self.reference(revision)?, |out| out.write_all(commit.as_bytes()))
    }

    /// The commit of a revision and its files, from the cache alone; each is hashed.
    pub(super) fn offline(&self, revision: &str, names: &[&str]) -> Result<(String, Vec<Fetched>)> {
        let absent = |what: String| Error::Absent {
            name: what,
            folder: self.folder.clone(),
            remedy: format!("offline, nothing is fetched{}", self.others()),
        };
        let commit = match is_commit(revision) {
            true => revision.to_owned(),
            false => fs::read_to_string(self.reference(revision)?)
                .map(|commit| commit.trim().to_owned())
                .map_err(|_| absent(format!("revision {revision}")))?,
        };
        let mut files = Vec::new();
        for name in names {
            let path = self.snapshot(&commit, name)?;
            // The link's target is called by the hash; without links there is none to compare with, and the content tells.
            let target = fs::canonicalize(&path).map_err(|_| absent((*name).to_owned()))?;
            let sha256 = sha256(&path)?;
            let called = target.file_name().unwrap_or_default().to_string_lossy();
            if is_sha256(&called) && called != *sha256 {
                return Err(Error::File {
                    path,
                    reason: format!(
                        "its SHA-256 is {sha256}: the cache is damaged; without offline, it is mended"
                    ),
                });
            }
            files.push(Fetched { name: (*name).to_owned(), path, sha256 });
        }
        Ok((commit, files))
    }

    /// The commits that are here, for one who asked for another.
    fn others(&self) -> String {
        let entries = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names: Vec<String> = names.filter(|name| is_commit(name)).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!(
                ". Another commit is here: `--revision {}`",
                names.join("` or `--revision ")
            ),
        }
    }

    fn snapshot(&self, commit: &str, name: &str) -> Result<PathBuf> {
        let (commit, name) = (inside("revision", commit)?, inside("file", name)?);
        Ok(self.folder.join("snapshots").join(commit).join(name))
    }

    fn reference(&self, revision: &str) -> Result<PathBuf> {
        Ok(self.folder.join("refs").join(inside("revision", revision)?))
    }
}

/// A path that does not lead out of its folder.
pub(super) fn inside<'a>(argument: &str, path: &'a str) -> Result<&'a Path> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if inside && !path.is_empty() {
        return Ok(Path::new(path));
    }
    let expected = match argument {
        "revision" => "the name of a branch or tag, or a commit",
        _ => "a path inside the repository",
    };
    let received = format!("`{path}`");
    Err(taper_core::Error::argument("download", argument, expected, received).into())
}

pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut hashed = Hashed::default();
    let hash = |mut file| io::copy(&mut file, &mut hashed);
    File::open(path).and_then(hash).map_err(Error::io("read", path))?;
    Ok(hashed.hex())
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))
}
