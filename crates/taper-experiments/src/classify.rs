//! A classifier in training, and what is asked of its logits.

use candle_core::{D, DType, Tensor};
use taper_core::{Result, Snapshot, Stateful};
use taper_data::Batches;
use taper_lab::Context;

use crate::data::Split;
use crate::mlp::{Mlp, MlpConfig};

/// A network and the batches that it learns from: one seed gives the same of both to every loss.
pub(crate) struct Classifier {
    mlp: Mlp,
    batches: Batches,
}

impl Classifier {
    pub(crate) fn new(
        split: &Split,
        config: &MlpConfig<'_>,
        batch_size: usize,
        context: &Context,
    ) -> taper_data::Result<Self> {
        let mlp = Mlp::new(split.features(), split.classes(), config, context)?;
        Ok(Self { mlp, batches: split.train_batches(batch_size)? })
    }

    /// The logits of images (N, features), without a way back for gradients.
    pub(crate) fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.mlp.forward(images)?.detach())
    }

    /// The step number `step`, on the loss of the next batch's logits and labels.
    pub(crate) fn step(
        &mut self,
        step: u64,
        loss: impl FnOnce(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let (images, labels) = self.batches.next_batch()?;
        let loss = loss(&self.mlp.forward(&images)?, &labels)?;
        self.mlp.descend(&loss, step)
    }
}

impl Stateful for Classifier {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put("mlp", &self.mlp)?;
        snapshot.put("batches", &self.batches)
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        snapshot.get("mlp", &mut self.mlp)?;
        snapshot.get("batches", &mut self.batches)
    }
}

/// The part of the rows whose largest logit is that of the label.
pub(crate) fn accuracy(logits: &Tensor, labels: &Tensor) -> Result<f64> {
    let hits = logits.argmax(1)?.eq(labels)?.to_dtype(DType::F64)?;
    Ok(hits.mean_all()?.to_scalar()?)
}

/// The softmax of each row of logits, from candle operations that hand gradients on.
pub(crate) fn probabilities(logits: &Tensor) -> Result<Tensor> {
    let largest = logits.detach().max_keepdim(D::Minus1)?;
    let exponentials = logits.broadcast_sub(&largest)?.exp()?;
    Ok(exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)?)
}

/// A row for each label, 1 at its class and 0 elsewhere, in the form of `logits`.
pub(crate) fn one_hot(labels: &Tensor, logits: &Tensor) -> Result<Tensor> {
    let classes = Tensor::arange(0, logits.dim(1)? as u32, logits.device())?.unsqueeze(0)?;
    Ok(labels.unsqueeze(1)?.broadcast_eq(&classes)?.to_dtype(logits.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers() {
        let logits = Tensor::new(&[[0.0, 3f64.ln()], [1000.0, 1000.0]], &Device::Cpu).unwrap();
        let p: Vec<Vec<f64>> = probabilities(&logits).unwrap().to_vec2().unwrap();
        assert!((p[0][0] - 0.25).abs() < 1e-15 && (p[0][1] - 0.75).abs() < 1e-15);
        assert_eq!(p[1], [0.5, 0.5]);
        let labels = Tensor::new(&[1u32, 1], &Device::Cpu).unwrap();
        let rows: Vec<Vec<f64>> = one_hot(&labels, &logits).unwrap().to_vec2().unwrap();
        assert_eq!(rows, [[0.0, 1.0], [0.0, 1.0]]);
        assert_eq!(accuracy(&logits, &labels).unwrap(), 0.5);
    }
}
