//! The peer candle-nn, with a pooling allocator, which helps it.

use std::io;

use taper_benches::{peer, stock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> io::Result<()> {
    peer::serve(&stock::introduction(), stock::build)
}
