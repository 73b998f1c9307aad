//! Puts a digest of the sources into the binary: it is part of every run's key, so a change of the
//! code makes new runs.

fn main() -> taper_sources::Result<()> {
    taper_sources::emit()
}
