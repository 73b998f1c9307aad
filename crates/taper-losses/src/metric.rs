//! Losses of pairs, triplets and batches of embeddings.

mod barlow_twins;
mod contrastive;
mod cosine_embedding;
mod distance;
mod hinge_embedding;
mod info_nce;
mod margin_ranking;
mod nt_xent;
mod sup_con;
mod triplet_margin;
mod vicreg;

pub use barlow_twins::{BarlowTwinsOptions, barlow_twins};
pub use contrastive::{ContrastiveOptions, contrastive};
pub use cosine_embedding::{CosineEmbeddingOptions, cosine_embedding};
pub use distance::Distance;
pub use hinge_embedding::{HingeEmbeddingOptions, hinge_embedding};
pub use info_nce::{InfoNceOptions, info_nce};
pub use margin_ranking::{MarginRankingOptions, margin_ranking};
pub use nt_xent::{NtXentOptions, nt_xent};
pub use sup_con::{SupConOptions, sup_con};
pub use triplet_margin::{TripletMarginOptions, triplet_margin};
pub use vicreg::{VicReg, VicRegOptions, vicreg};
