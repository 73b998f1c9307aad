//! Tells the crate the digest of the sources that its runs' numbers depend on.

fn main() -> taper_sources::Result<()> {
    taper_sources::emit()
}
