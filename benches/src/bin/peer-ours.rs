//! Our peer as Taper's own binaries run: with a pooling allocator, and the settings that
//! `rounds/program.rs` gives to its process.

use std::io;

use taper_benches::{ours, peer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    peer::serve(&ours::introduction("mimalloc"), ours::build)
}
