//! The candle core that the Taper crates share.

mod error;
mod state;
mod stream;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::{Error, Result};
pub use state::{Snapshot, Stateful};
pub use stream::{Stream, stream};
