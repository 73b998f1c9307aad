//! Medians, quantiles and ratios of times.

use super::record::Times;

/// The samples of one column in one round, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    pub(super) run: Vec<f64>,
    pub(super) base: Vec<f64>,
}

/// The value below which this part of the sorted values lies, between two of them in proportion.
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = part * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The middle value; that of no values is NaN.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(&sorted(values), 0.5)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The times of a column, each less the base of its round.
pub(super) fn times(rounds: &[Samples]) -> Times {
    let base = |round: &Samples| if round.base.is_empty() { 0.0 } else { median(&round.base) };
    let all = rounds.iter().flat_map(|round| {
        let base = base(round);
        round.run.iter().map(move |sample| sample - base)
    });
    let all = sorted(&all.collect::<Vec<_>>());
    Times {
        median: rounded(quantile(&all, 0.5)),
        p10: rounded(quantile(&all, 0.1)),
        p90: rounded(quantile(&all, 0.9)),
        samples: all.len(),
        base: rounded(median(&rounds.iter().map(base).collect::<Vec<_>>())),
        rounds: rounds.iter().map(|round| rounded(median(&round.run) - base(round))).collect(),
    }
}

/// To a tenth of a microsecond: no clock is better.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1e4).round() / 1e4
}

/// How one column's time relates to another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ratio {
    pub(super) median: f64,
    /// The least and the greatest of a round.
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The ratios within the rounds; none where a round has no time, as when all of it was the base's.
pub(super) fn ratio(ours: &Times, theirs: &Times) -> Option<Ratio> {
    let pairs = ours.rounds.iter().zip(&theirs.rounds);
    let ratios = sorted(&pairs.map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>());
    let sound = !ratios.is_empty() && theirs.rounds.iter().all(|&time| time > 0.0);
    sound.then(|| Ratio {
        median: quantile(&ratios, 0.5),
        low: quantile(&ratios, 0.0),
        high: quantile(&ratios, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::{Ratio, Samples, median, quantile, ratio, times};

    #[test]
    fn quantiles_lie_between_values_in_proportion() {
        let values = [1.0, 2.0, 4.0];
        assert_eq!(
            [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| quantile(&values, part)),
            [1.0, 1.5, 2.0, 3.0, 4.0]
        );
        assert_eq!(quantile(&[7.0], 0.9), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(median(&[9.0, 1.0, 2.0, 4.0]), 3.0);
    }

    #[test]
    fn each_round_is_counted_less_its_own_base() {
        let rounds = [
            Samples { run: vec![5.0, 3.0, 4.0], base: vec![1.0, 1.0, 9.0] },
            Samples { run: vec![7.0], base: vec![2.0] },
        ];
        let times = times(&rounds);
        assert_eq!(times.rounds, [3.0, 5.0]);
        // 2, 3, 4 and 5.
        assert_eq!((times.median, times.samples, times.base), (3.5, 4, 1.5));
        assert_eq!((times.p10, times.p90), (2.3, 4.7));
    }

    #[test]
    fn what_has_no_base_is_counted_whole() {
        let times = times(&[Samples { run: vec![0.123_456], base: vec![] }]);
        assert_eq!((times.median, times.base), (0.1235, 0.0));
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let of = |values: &[f64]| {
            times(
                &values
                    .iter()
                    .map(|&it| Samples { run: vec![it], base: vec![] })
                    .collect::<Vec<_>>(),
            )
        };
        let expected = Ratio { median: 0.5, low: 0.25, high: 2.0 };
        assert_eq!(ratio(&of(&[1.0, 2.0, 4.0]), &of(&[2.0, 8.0, 2.0])), Some(expected));
        assert_eq!(ratio(&of(&[1.0]), &of(&[0.0])), None);
        assert_eq!(ratio(&of(&[]), &of(&[])), None);
    }
}
