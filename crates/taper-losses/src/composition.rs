//! Sums of losses, and penalties.

mod contractive;
mod kl_sparsity;
mod l1_penalty;
mod l2_penalty;
mod orthogonality;
mod penalty;
mod weighted_sum;

pub use contractive::{ContractiveOptions, contractive};
pub use kl_sparsity::{KlSparsityOptions, kl_sparsity};
pub use l1_penalty::l1_penalty;
pub use l2_penalty::l2_penalty;
pub use orthogonality::orthogonality;
pub use weighted_sum::WeightedSum;
