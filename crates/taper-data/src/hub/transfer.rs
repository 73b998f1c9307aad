//! One file from the hub into its cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;

use super::Event;
use super::cache::{Cache, sha256};
use super::client::{Attempts, Failure, Hub, Listed};
use crate::{Error, Result};

/// How often a whole file may be other than what the hub has on record before that is an error.
const MISMATCHES: u32 = 2;

/// Brings a file into the cache: size and SHA-256 are those of the hub's record, or it is not there.
pub(super) fn fetch(hub: &Hub<'_>, cache: &Cache, commit: &str, file: &Listed) -> Result<()> {
    let _lock = cache.lock(&file.sha256, || (hub.on)(Event::Waiting))?;
    let (blob, incomplete) = (cache.blob(&file.sha256), cache.incomplete(&file.sha256));
    // Moves a file out of the way that is not what it should be.
    let quarantined = |path: &Path| -> Result<Option<String>> {
        let Some(reason) = differs(path, file)? else { return Ok(None) };
        let path = cache.quarantine(path)?;
        (hub.on)(Event::Quarantined { path: &path, reason: &reason });
        Ok(Some(format!(
            "{reason}; what came is in {}, and the cache is as it was",
            path.display()
        )))
    };
    if blob.is_file() && quarantined(&blob)?.is_none() {
        return Ok(());
    }
    let mut left = MISMATCHES;
    loop {
        receive(hub, commit, file, &incomplete)?;
        let Some(reason) = quarantined(&incomplete)? else { break };
        left -= 1;
        if left == 0 {
            return Err(Error::Hub { what: file.name.clone(), reason });
        }
    }
    fs::rename(&incomplete, &blob).map_err(Error::io("name", &blob))
}

/// What makes a file other than the hub's record, if anything does.
fn differs(path: &Path, file: &Listed) -> Result<Option<String>> {
    let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
    if length != file.bytes {
        return Ok(Some(format!(
            "it has {length} bytes, and the hub has {} on record",
            file.bytes
        )));
    }
    let found = sha256(path)?;
    Ok((found != file.sha256)
        .then(|| format!("its SHA-256 is {found}, and the hub has {} on record", file.sha256)))
}

/// Fills `path` up to the size of the file, going on where an earlier attempt ended.
fn receive(hub: &Hub<'_>, commit: &str, file: &Listed, path: &Path) -> Result<()> {
    let open = OpenOptions::new().append(true).create(true).open(path);
    let mut out = open.map_err(Error::io("write", path))?;
    let mut there = out.metadata().map_err(Error::io("write", path))?.len();
    if there > file.bytes {
        empty(&mut out, path)?;
        there = 0;
    }
    (hub.on)(Event::File { name: &file.name, bytes: file.bytes, there });
    let mut attempts = Attempts::new(hub);
    while there < file.bytes {
        let from = there;
        let result = hub.stream(commit, file, from, |bytes| {
            out.write_all(bytes).map_err(|error| full(error, path))?;
            there += bytes.len() as u64;
            if there > file.bytes {
                // Too many, and maybe without end.
                return Ok(ControlFlow::Break(()));
            }
            (hub.on)(Event::Received { there });
            Ok(ControlFlow::Continue(()))
        });
        let failure = match result {
            // Longer than the record says: for the check to see.
            Ok(()) if there > file.bytes && from == 0 => break,
            Ok(()) if there > file.bytes => {
                empty(&mut out, path)?;
                there = 0;
                Failure::Passing("the hub sends the file from its start only".to_owned(), None)
            }
            Ok(()) if there < file.bytes => {
                let reason = format!("the connection ended after {there} of {} bytes", file.bytes);
                Failure::Passing(reason, None)
            }
            Ok(()) => break,
            Err(failure) => failure,
        };
        if there > from {
            // The last attempt got somewhere.
            attempts = Attempts::new(hub);
        }
        attempts.again(&file.name, failure).map_err(|error| kept(error, there))?;
    }
    out.sync_all().map_err(|error| full(error, path))
}

/// An error that ends the attempts, with what it leaves.
fn kept(error: Error, there: u64) -> Error {
    match error {
        Error::Hub { what, reason } if there > 0 => Error::Hub {
            what,
            reason: format!(
                "{reason}; the {there} bytes that came are kept, and the same command goes on from there"
            ),
        },
        other => other,
    }
}

fn empty(out: &mut File, path: &Path) -> Result<()> {
    out.set_len(0).map_err(Error::io("begin anew", path))
}

fn full(error: io::Error, path: &Path) -> Error {
    let action = match error.kind() {
        io::ErrorKind::StorageFull => {
            "write (what came is kept; make room, and the same command goes on from there)"
        }
        _ => "write",
    };
    Error::io(action, path)(error)
}
