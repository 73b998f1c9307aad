//! What is asked of embeddings: their spread, and whether neighbours are of one class.

use candle_core::{DType, Tensor};
use taper_core::Result;

/// The sum over dimensions of the variance over the rows (N, D).
pub(super) fn variance(embeddings: &Tensor) -> Result<f64> {
    let embeddings = embeddings.to_dtype(DType::F64)?;
    let centred = embeddings.broadcast_sub(&embeddings.mean_keepdim(0)?)?;
    Ok(centred.sqr()?.sum(1)?.mean_all()?.to_scalar()?)
}

/// The part of the rows of `queries` whose nearest row of `known` has the same label.
///
/// From the differences, in f64: embeddings that have all but collapsed keep their digits.
pub(super) fn nearest_neighbour_accuracy(
    (known, known_labels): (&Tensor, &Tensor),
    (queries, labels): (&Tensor, &Tensor),
) -> Result<f64> {
    let known: Vec<Vec<f64>> = known.to_dtype(DType::F64)?.to_vec2()?;
    let queries: Vec<Vec<f64>> = queries.to_dtype(DType::F64)?.to_vec2()?;
    let (known_labels, labels) = (known_labels.to_vec1::<u32>()?, labels.to_vec1::<u32>()?);
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    let hits = queries.iter().zip(&labels).filter(|(query, label)| {
        let distances = known.iter().map(|row| -> f64 { distance(query, row) });
        let nearest = distances.zip(&known_labels).min_by(|(a, _), (b, _)| a.total_cmp(b));
        nearest.is_some_and(|(_, found)| found == *label)
    });
    Ok(hits.count() as f64 / labels.len() as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn hand_numbers() {
        let known = Tensor::new(&[[0f32, 0.0], [2.0, 0.0]], &Device::Cpu).unwrap();
        assert_eq!(variance(&known).unwrap(), 1.0);
        let known_labels = Tensor::new(&[3u32, 5], &Device::Cpu).unwrap();
        let queries = Tensor::new(&[[0.5f32, 9.0], [1.5, 9.0]], &Device::Cpu).unwrap();
        for (labels, expected) in [([3u32, 5], 1.0), ([3, 3], 0.5), ([5, 3], 0.0)] {
            let labels = Tensor::new(&labels, &Device::Cpu).unwrap();
            let found = nearest_neighbour_accuracy((&known, &known_labels), (&queries, &labels));
            assert_eq!(found.unwrap(), expected);
        }
    }
}
