//! Losses of pairs, triplets and batches of embeddings.

mod alignment;
mod all_pairs;
mod all_triplets;
mod barlow_twins;
mod batch_hard_triplets;
mod contrastive;
mod cosine_embedding;
mod distance;
mod hinge_embedding;
mod info_nce;
mod margin_ranking;
mod nt_xent;
mod semi_hard_triplets;
mod sup_con;
mod triplet_margin;
mod uniformity;
mod vicreg;

pub use alignment::{AlignmentOptions, alignment};
pub use all_pairs::{Pairs, all_pairs};
pub use all_triplets::{Triplets, all_triplets};
pub use barlow_twins::{BarlowTwinsOptions, barlow_twins};
pub use batch_hard_triplets::batch_hard_triplets;
pub use contrastive::{ContrastiveOptions, contrastive};
pub use cosine_embedding::{CosineEmbeddingOptions, cosine_embedding};
pub use distance::Distance;
pub use hinge_embedding::{HingeEmbeddingOptions, hinge_embedding};
pub use info_nce::{InfoNceOptions, info_nce};
pub use margin_ranking::{MarginRankingOptions, margin_ranking};
pub use nt_xent::{NtXentOptions, nt_xent};
pub use semi_hard_triplets::semi_hard_triplets;
pub use sup_con::{SupConOptions, sup_con};
pub use triplet_margin::{TripletMarginOptions, triplet_margin};
pub use uniformity::{UniformityOptions, uniformity};
pub use vicreg::{VicReg, VicRegOptions, vicreg};
