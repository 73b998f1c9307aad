//! Losses of pairs, triplets and batches of embeddings.

mod barlow_twins;
mod info_nce;
mod nt_xent;
mod sup_con;
mod vicreg;

pub use barlow_twins::{BarlowTwinsOptions, barlow_twins};
pub use info_nce::{InfoNceOptions, info_nce};
pub use nt_xent::{NtXentOptions, nt_xent};
pub use sup_con::{SupConOptions, sup_con};
pub use vicreg::{VicReg, VicRegOptions, vicreg};
