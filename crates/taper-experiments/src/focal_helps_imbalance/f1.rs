//! The F1 score of each class.

/// F1 = 2 TP / (2 TP + FP + FN) of each class; 0 where no image of it was found.
pub(super) fn f1_scores(predicted: &[u32], labels: &[u32], classes: usize) -> Vec<f64> {
    let mut hits = vec![0u64; classes];
    // 2 TP + FP + FN is how often the class was predicted plus how often it was there.
    let mut named = vec![0u64; classes];
    for (predicted, label) in predicted.iter().zip(labels) {
        named[*predicted as usize] += 1;
        named[*label as usize] += 1;
        hits[*label as usize] += u64::from(predicted == label);
    }
    let score = |(hits, named): (u64, u64)| match hits {
        0 => 0.0,
        _ => 2.0 * hits as f64 / named as f64,
    };
    hits.into_iter().zip(named).map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        // Class 0: one hit, one miss taken for 1. Class 1: one hit, one false alarm. Class 2: missed. Class 3: not there.
        let scores = f1_scores(&[0, 1, 1, 0], &[0, 0, 1, 2], 4);
        assert_eq!(scores, [2.0 / 4.0, 2.0 / 3.0, 0.0, 0.0]);
    }
}
