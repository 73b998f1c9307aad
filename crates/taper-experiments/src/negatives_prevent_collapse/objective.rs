//! The losses of pairs, each with its negatives and with what is left of it without them.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use taper_core::Result;
use taper_losses::{
    AlignmentOptions, ContrastiveOptions, Distance, NtXentOptions, TripletMarginOptions, alignment,
    contrastive, nt_xent, triplet_margin,
};

use super::pairs::Drawn;
use crate::mlp::Mlp;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Loss {
    Contrastive,
    Triplet,
    NtXent,
}

/// A loss, with or without negatives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Objective {
    pub(super) loss: Loss,
    pub(super) negatives: bool,
    pub(super) temperature: f64,
}

impl Objective {
    /// Of the embeddings that `network` gives the images drawn.
    pub(super) fn of(self, network: &Mlp, drawn: &Drawn) -> Result<Tensor> {
        let first = network.forward(&drawn.first)?;
        let second = network.forward(&drawn.second)?;
        let similar = Tensor::ones(first.dim(0)?, DType::U8, first.device())?;
        match (self.loss, self.negatives) {
            (Loss::Contrastive, true) => contrastive(
                &Tensor::cat(&[&first, &first], 0)?,
                &Tensor::cat(&[&second, &negatives(&second, drawn)?], 0)?,
                &Tensor::cat(&[&similar, &similar.zeros_like()?], 0)?,
                &ContrastiveOptions::default(),
            ),
            (Loss::Contrastive, false) => {
                contrastive(&first, &second, &similar, &ContrastiveOptions::default())
            }
            (Loss::Triplet, true) => {
                let negative = negatives(&second, drawn)?;
                triplet_margin(&first, &second, &negative, &TripletMarginOptions::default())
            }
            // Without the negative nothing is left to stay ahead of, so the margin goes with it.
            (Loss::Triplet, false) => {
                Ok(Distance::Euclidean.between(&first, &second)?.mean_all()?)
            }
            (Loss::NtXent, true) => {
                let options = NtXentOptions { temperature: self.temperature, ..Default::default() };
                nt_xent(&first, &second, &options)
            }
            // Without the denominator what is left is -cos / τ. It is (alignment - 2) / (2 τ).
            (Loss::NtXent, false) => {
                let aligned = alignment(&first, &second, &AlignmentOptions::default())?;
                Ok(aligned.affine(0.5 / self.temperature, -1.0 / self.temperature)?)
            }
        }
    }

    /// The embeddings as the loss sees them: NT-Xent sees directions alone.
    pub(super) fn seen(self, embeddings: &Tensor) -> Result<Tensor> {
        match self.loss {
            Loss::Contrastive | Loss::Triplet => Ok(embeddings.clone()),
            Loss::NtXent => {
                let norms = embeddings.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?;
                Ok(embeddings.broadcast_div(&norms)?)
            }
        }
    }
}

/// For each first embedding the second one of another class.
fn negatives(second: &Tensor, drawn: &Drawn) -> Result<Tensor> {
    let rest = second.dim(0)? - drawn.further;
    let (before, after) =
        (second.narrow(0, 0, drawn.further)?, second.narrow(0, drawn.further, rest)?);
    Ok(Tensor::cat(&[&after, &before], 0)?)
}
