//! Our peer as a program of a user who depends on the crates and sets nothing: the system's allocator,
//! the environment as it is.

use std::io;

use taper_benches::{ours, peer};

fn main() -> io::Result<()> {
    peer::serve(&ours::introduction("the system's"), ours::build)
}
