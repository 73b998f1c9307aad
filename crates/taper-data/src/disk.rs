//! Files that are written whole or not at all, locks between processes, hashes.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// How the name of a file that is being written starts.
const UNFINISHED: &str = ".writing-";

/// Writes a file whole or not at all: a temporary file beside it, synced, then renamed.
pub(crate) fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<()> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        // A temporary file is private; what is kept is as readable as any other file of the user's.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        let mut out = BufWriter::new(file.as_file());
        content(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(Error::io("write", path))
}

/// Removes what killed processes were writing in `folder`; nobody may be writing there now.
pub(crate) fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            // A file that stays does no harm: nothing reads it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Takes the lock that the file at `path` is; `wait` is called where another process has it, whose end is then waited for.
/// It is held until the value is dropped, and by the system's doing also when the process is killed.
pub(crate) fn lock(path: &Path, wait: impl FnOnce()) -> Result<File> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
    let file = File::create(path).map_err(Error::io("make the lock", path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => wait(),
        Err(TryLockError::Error(error)) => return Err(Error::io("take the lock", path)(error)),
    }
    file.lock().map_err(Error::io("take the lock", path))?;
    Ok(file)
}

/// The SHA-256 of what is written to it.
#[derive(Default)]
pub(crate) struct Hashed(Sha256);

impl Hashed {
    pub(crate) fn hex(self) -> String {
        hex(&self.0.finalize())
    }
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
