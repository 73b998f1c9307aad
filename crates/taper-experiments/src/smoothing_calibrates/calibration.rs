//! Whether probabilities mean what they say: the calibration error and two proper scores.

use candle_core::{DType, Tensor};
use taper_core::Result;
use taper_losses::{ClassOptions, Target, cross_entropy};

use crate::classify::{one_hot, probabilities};

/// What a classifier's logits are worth as probabilities.
pub(super) struct Calibration {
    /// The expected calibration error of the largest probability.
    pub(super) ece: f64,
    /// The mean of -log p of the label, in nats.
    pub(super) nll: f64,
    /// The mean squared distance from the one-hot label, from 0 to 2.
    pub(super) brier: f64,
    /// The mean of the largest probability.
    pub(super) confidence: f64,
}

impl Calibration {
    /// Of logits (N, C) and labels (N), with the calibration error over `bins` bins.
    pub(super) fn new(logits: &Tensor, labels: &Tensor, bins: usize) -> Result<Self> {
        let logits = logits.to_dtype(DType::F64)?;
        let nll = cross_entropy(&logits, Target::Indices(labels), &ClassOptions::default())?;
        let p = probabilities(&logits)?;
        let brier = (&p - one_hot(labels, &logits)?)?.sqr()?.sum(1)?.mean_all()?;
        let hits: Vec<u8> = p.argmax(1)?.eq(labels)?.to_vec1()?;
        let largest: Vec<f64> = p.max(1)?.to_vec1()?;
        let confidence = largest.iter().sum::<f64>() / largest.len() as f64;
        let predictions = largest.into_iter().zip(hits.into_iter().map(|hit| hit == 1)).collect();
        let ece = expected_calibration_error(predictions, bins);
        Ok(Self { ece, nll: nll.to_scalar()?, brier: brier.to_scalar()?, confidence })
    }
}

/// The mean over predictions of |confidence - accuracy| of their bin.
///
/// Sorted by confidence, the predictions are cut into bins of equal size, so that none is empty: nearly all
/// predictions of a good classifier would be in the last of equally wide ones.
fn expected_calibration_error(mut predictions: Vec<(f64, bool)>, bins: usize) -> f64 {
    predictions.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let n = predictions.len();
    let gaps = (0..bins).map(|bin| {
        let members = &predictions[bin * n / bins..(bin + 1) * n / bins];
        let gap: f64 = members.iter().map(|(p, hit)| p - f64::from(u8::from(*hit))).sum();
        gap.abs()
    });
    gaps.sum::<f64>() / n as f64
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_error_is_the_gap_of_each_bin() {
        // Two bins of two: confidences .5 and .7 with one hit, .9 and .9 with two.
        let predictions = vec![(0.9, true), (0.5, true), (0.9, true), (0.7, false)];
        let error = expected_calibration_error(predictions, 2);
        assert!((error - (0.2 + 0.2) / 4.0).abs() < 1e-15, "{error}");
    }

    #[test]
    fn what_is_always_right_by_a_coin_is_calibrated() {
        let predictions = (0..30).map(|at| (0.5, at % 2 == 0)).collect();
        assert_eq!(expected_calibration_error(predictions, 15), 0.0);
    }

    #[test]
    fn hand_numbers_of_the_scores() {
        let logits = Tensor::new(&[[3f64.ln(), 0.0], [0.0, 0.0]], &Device::Cpu).unwrap();
        let labels = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
        let found = Calibration::new(&logits, &labels, 1).unwrap();
        assert!((found.nll - ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0).abs() < 1e-12);
        assert!((found.brier - (2.0 / 16.0 + 0.5) / 2.0).abs() < 1e-12);
        assert!((found.confidence - 0.625).abs() < 1e-12);
    }
}
