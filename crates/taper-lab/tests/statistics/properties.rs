//! What holds for every sample.

use std::collections::BTreeMap;

use proptest::prelude::*;
use taper_lab::criterion::{Criterion, Difference, Direction};
use taper_lab::outcomes::{Measured, Outcomes};
use taper_lab::stats::{Alternative, bca_interval, holm, sign_flip, student_interval};
use taper_lab::verdict::{Finding, Rule, Verdict};

/// Whole numbers, so that shifts and sums are exact and no verdict hangs on rounding.
fn whole_numbers(least: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec((-50i32..50).prop_map(f64::from), least..12)
}

fn rules() -> impl Strategy<Value = Rule> {
    let margin = (1u8..40).prop_map(f64::from);
    (margin, 0u8..7).prop_map(|(margin, kind)| match kind {
        0 => Rule::Superiority { margin },
        1 => Rule::NonInferiority { margin },
        2 => Rule::Equivalence { margin },
        3 => Rule::AtLeast { bound: margin },
        4 => Rule::AtMost { bound: margin },
        5 => Rule::Within { target: 3.0, within: margin },
        _ => Rule::Identity { within: margin },
    })
}

fn judged(rule: Rule, values: &[f64]) -> Finding {
    let effects: Vec<_> = (1000..).zip(values.iter().copied()).collect();
    Finding::new("effect", rule, &effects, &taper_core::stream(0, "properties")).unwrap()
}

/// The verdict on `x` being higher in one arm than in the other.
fn compared(treatment: (&str, &[f64]), baseline: (&str, &[f64]), direction: Direction) -> Verdict {
    let mut outcomes = Outcomes::default();
    for (arm, values) in [treatment, baseline] {
        for (seed, value) in (1000..).zip(values) {
            let measured = Measured { value: *value, censored: false };
            outcomes.insert(arm, seed, BTreeMap::from([("x".to_owned(), measured)]));
        }
    }
    let criterion = Criterion::Difference(Difference {
        name: "one is higher".to_owned(),
        paper: None,
        measure: "x".to_owned(),
        treatment: treatment.0.to_owned(),
        baseline: baseline.0.to_owned(),
        direction,
        margin: 0.0,
    });
    let seeds: Vec<u64> = (1000..).take(treatment.1.len()).collect();
    let stream = taper_core::stream(0, "properties");
    criterion.evaluate(&outcomes, &seeds, &stream).unwrap().verdict
}

fn mirrored(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Reproduced => Verdict::Contradicted,
        Verdict::Contradicted => Verdict::Reproduced,
        other => other,
    }
}

proptest! {
    #[test]
    fn swapping_the_arms_turns_reproduced_into_contradicted(
        pairs in prop::collection::vec((-50i32..50, -50i32..50), 2..12),
    ) {
        let (a, b): (Vec<f64>, Vec<f64>) =
            pairs.iter().map(|(a, b)| (f64::from(*a), f64::from(*b))).unzip();
        let (a, b) = (("a", &a[..]), ("b", &b[..]));
        let verdict = compared(a, b, Direction::Higher);
        prop_assert_eq!(compared(b, a, Direction::Higher), mirrored(verdict));
        prop_assert_eq!(compared(a, b, Direction::Lower), mirrored(verdict));
        prop_assert_eq!(compared(b, a, Direction::Lower), verdict);
    }

    #[test]
    fn scaling_effects_and_margin_changes_no_verdict(
        values in whole_numbers(2),
        margin in 0u8..40,
        power in -20i32..20,
    ) {
        let factor = 2f64.powi(power);
        let scaled: Vec<f64> = values.iter().map(|value| factor * value).collect();
        let margin = f64::from(margin);
        for (rule, larger) in [
            (Rule::Superiority { margin }, Rule::Superiority { margin: factor * margin }),
            (Rule::NonInferiority { margin }, Rule::NonInferiority { margin: factor * margin }),
            (Rule::Equivalence { margin }, Rule::Equivalence { margin: factor * margin }),
        ] {
            let (before, after) = (judged(rule, &values), judged(larger, &scaled));
            prop_assert_eq!(before.verdict, after.verdict);
            prop_assert_eq!(before.p, after.p);
            prop_assert_eq!(before.sign_flip, after.sign_flip);
            prop_assert_eq!(before.seeds_needed, after.seeds_needed);
        }
    }

    #[test]
    fn shifting_values_and_bound_changes_no_verdict(
        values in whole_numbers(2),
        bound in -40i32..40,
        shift in -1000i32..1000,
    ) {
        let (bound, shift) = (f64::from(bound), f64::from(shift));
        let shifted: Vec<f64> = values.iter().map(|value| value + shift).collect();
        for (rule, moved) in [
            (Rule::AtLeast { bound }, Rule::AtLeast { bound: bound + shift }),
            (Rule::AtMost { bound }, Rule::AtMost { bound: bound + shift }),
            (
                Rule::Within { target: bound, within: 9.0 },
                Rule::Within { target: bound + shift, within: 9.0 },
            ),
        ] {
            prop_assert_eq!(judged(rule, &values).verdict, judged(moved, &shifted).verdict);
        }
    }

    #[test]
    fn the_order_of_the_seeds_changes_no_verdict(rule in rules(), values in whole_numbers(2)) {
        let turned: Vec<f64> = values.iter().rev().copied().collect();
        prop_assert_eq!(judged(rule, &values).verdict, judged(rule, &turned).verdict);
    }

    #[test]
    fn a_larger_margin_makes_a_claim_harder_or_an_allowance_easier(
        values in whole_numbers(2),
        margin in 1u8..40,
    ) {
        let (margin, more) = (f64::from(margin), f64::from(margin) + 1.0);
        let reproduced = |rule| judged(rule, &values).verdict == Verdict::Reproduced;
        let harder = [Rule::Superiority { margin: more }, Rule::Superiority { margin }];
        let easier = [Rule::Equivalence { margin }, Rule::Equivalence { margin: more }];
        for [strict, lenient] in [harder, easier] {
            prop_assert!(!reproduced(strict) || reproduced(lenient));
        }
    }

    #[test]
    fn any_numbers_get_a_finding(
        rule in rules(),
        values in prop::collection::vec(prop::num::f64::ANY, 0..10),
    ) {
        let found = judged(rule, &values);
        prop_assert!(found.n == values.len() as u64);
        if values.iter().any(|value| value.is_nan()) {
            prop_assert!(
                matches!(found.verdict, Verdict::Inconclusive | Verdict::Contradicted)
            );
            prop_assert!(!found.notes.is_empty());
        }
    }

    #[test]
    fn a_higher_level_widens_the_interval(values in whole_numbers(2)) {
        let narrow = student_interval(&values, 0.9).unwrap();
        let wide = student_interval(&values, 0.95).unwrap();
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
    }

    #[test]
    fn a_bootstrap_interval_stays_in_the_sample_and_repeats(values in whole_numbers(2)) {
        let interval =
            || bca_interval(&values, 0.95, 500, &mut taper_core::stream(5, "bca")).unwrap();
        let found = interval();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        prop_assert!(least <= found.low && found.low <= found.high && found.high <= most);
        prop_assert_eq!(found, interval());
    }

    #[test]
    fn a_sign_flip_p_is_symmetric_and_reachable(values in whole_numbers(1)) {
        let stream = &mut taper_core::stream(5, "flip");
        let negated: Vec<f64> = values.iter().map(|value| -value).collect();
        let found = sign_flip(&values, 0.0, Alternative::TwoSided, stream).unwrap();
        let other = sign_flip(&negated, 0.0, Alternative::TwoSided, stream).unwrap();
        prop_assert_eq!(found, other);
        prop_assert!(found.least <= found.p && found.p <= 1.0);
        let greater = sign_flip(&values, 0.0, Alternative::Greater, stream).unwrap();
        let less = sign_flip(&negated, 0.0, Alternative::Less, stream).unwrap();
        prop_assert_eq!(greater, less);
    }

    #[test]
    fn holm_never_lowers_a_p_value_and_keeps_their_order(
        p_values in prop::collection::vec(0.0f64..=1.0, 0..8),
    ) {
        let adjusted = holm(&p_values).unwrap();
        for (at, p) in p_values.iter().enumerate() {
            prop_assert!(adjusted[at] >= *p && adjusted[at] <= 1.0);
            for (other, q) in p_values.iter().enumerate() {
                prop_assert!(p > q || adjusted[at] <= adjusted[other]);
            }
        }
    }
}
