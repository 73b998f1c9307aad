//! Holm's adjustment of several p-values.

use taper_core::{Error, Result};

/// The p-values adjusted for their number (Holm 1979), in the order they came: the k-th smallest of
/// m is multiplied by m - k + 1, made monotone, and kept at most 1.
///
/// # Errors
///
/// A p-value is outside [0, 1].
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>> {
    if let Some((at, p)) = p_values.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p)) {
        return Err(Error::argument("holm", format!("p_values[{at}]"), "in [0, 1]", p));
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        largest = largest.max(p_values[at] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[at] = largest;
    }
    Ok(adjusted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_numbers() {
        // Sorted: .01 * 4, .02 * 3, .03 * 2 (kept at .06), .5 * 1.
        assert_eq!(holm(&[0.02, 0.5, 0.01, 0.03]).unwrap(), [0.06, 0.5, 0.04, 0.06]);
        assert_eq!(holm(&[0.4, 0.9]).unwrap(), [0.8, 0.9]);
        assert_eq!(holm(&[0.9, 0.8]).unwrap(), [1.0, 1.0]);
        assert_eq!(holm(&[]).unwrap(), [0.0; 0]);
    }

    #[test]
    fn no_probability_is_named() {
        let error = holm(&[0.1, f64::NAN]).unwrap_err().to_string();
        assert_eq!(error, "holm: p_values[1] should be in [0, 1], got NaN");
    }
}
