//! Entropies of distributions.

use crate::isa::{Isa, dispatch};
use crate::threads::{self, Chunks};
use crate::{Element, lanes, work};

/// Σ_c q_c ln q_c of each row of `classes` probabilities, with 0 ln 0 = 0: minus the row's entropy.
pub fn negative_entropies<T: Element>(q: &[T], classes: usize) -> Vec<f64> {
    let rows = q.len() / classes.max(1);
    assert_eq!(rows * classes, q.len(), "whole rows");
    let mut entropies = vec![0.0; rows];
    let size = work::rows(rows, classes);
    let chunks = Chunks::new(&mut entropies, size);
    threads::each(rows.div_ceil(size), chunks, |task, entropies| {
        let q = &q[task * size * classes..][..entropies.len() * classes];
        dispatch!(I => of_rows::<I, T>(q, classes, entropies));
    });
    entropies
}

#[inline(always)]
fn of_rows<I: Isa, T: Element>(q: &[T], classes: usize, entropies: &mut [f64]) {
    for (row, entropy) in q.chunks_exact(classes).zip(entropies) {
        *entropy = lanes::sum_by(row.len(), |at| row[at] * row[at].ln_unit::<I>()).to_f64();
    }
}

#[cfg(test)]
mod tests {
    use super::negative_entropies;

    #[test]
    fn of_hand_numbers_in_either_precision() {
        let q = [0.25, 0.75, 0.0, 0.5, 0.5, 0.0, 1.0, 0.0, 0.0, 1e-40, 1.0 - 2e-7, 2e-7];
        let ln = |q: f64| if q > 0.0 { q * q.ln() } else { 0.0 };
        let expected: Vec<f64> = q.chunks(3).map(|row| row.iter().map(|q| ln(*q)).sum()).collect();
        let near = |found: Vec<f64>, tolerance: f64| {
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= tolerance, "{found} {expected}");
            }
        };
        near(negative_entropies(&q, 3), 1e-15);
        near(negative_entropies(&q.map(|q| q as f32), 3), 2e-7);
        assert!(negative_entropies::<f32>(&[], 3).is_empty());
        assert_eq!(negative_entropies::<f32>(&[1.0, 0.0], 1), [0.0, 0.0]);
    }
}
