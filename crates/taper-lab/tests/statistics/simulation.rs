//! How often the rule errs, and how often it sees what is there: 10,000 draws each.

use taper_core::Stream;
use taper_lab::stats::student_interval;
use taper_lab::verdict::{Rule, Verdict};

const DRAWS: usize = 10_000;

/// The share of draws in which `pairs` effects with this true mean and standard deviation 1 lead to
/// `verdict`.
fn share(rule: Rule, pairs: usize, mean: f64, verdict: Verdict) -> f64 {
    let mut stream = taper_core::stream(20, "simulation");
    let hits = (0..DRAWS).filter(|_| judged(rule, pairs, mean, &mut stream) == verdict).count();
    hits as f64 / DRAWS as f64
}

fn judged(rule: Rule, pairs: usize, mean: f64, stream: &mut Stream) -> Verdict {
    let effects: Vec<f64> = (0..pairs).map(|_| mean + stream.standard_normal()).collect();
    rule.decide(&student_interval(&effects, rule.level()).unwrap())
}

#[test]
fn at_the_margin_a_claim_is_rarely_reproduced() {
    for pairs in [3, 5, 8, 10] {
        for margin in [0.0, 1.0] {
            let found = share(Rule::Superiority { margin }, pairs, margin, Verdict::Reproduced);
            assert!((0.02..=0.03).contains(&found), "{pairs} pairs, margin {margin}: {found}");
        }
    }
}

#[test]
fn two_standard_deviations_beyond_the_margin_it_is_reproduced() {
    for margin in [0.0, 1.0, 5.0] {
        let found = share(Rule::Superiority { margin }, 8, margin + 2.0, Verdict::Reproduced);
        assert!(found >= 0.95, "margin {margin}: {found}");
    }
}

#[test]
fn without_an_effect_a_claim_is_rarely_contradicted_or_weaker() {
    let rule = Rule::Superiority { margin: 10.0 };
    for pairs in [5, 10] {
        for verdict in [Verdict::Contradicted, Verdict::Weaker] {
            let found = share(rule, pairs, 0.0, verdict);
            assert!((0.02..=0.03).contains(&found), "{pairs} pairs, {verdict}: {found}");
        }
    }
}

#[test]
fn equivalence_errs_at_its_boundary_in_one_of_twenty() {
    let rule = Rule::Equivalence { margin: 2.0 };
    for mean in [-2.0, 2.0] {
        for verdict in [Verdict::Reproduced, Verdict::Contradicted] {
            let found = share(rule, 10, mean, verdict);
            assert!((0.043..=0.057).contains(&found), "mean {mean}, {verdict}: {found}");
        }
    }
    assert!(share(rule, 10, 0.0, Verdict::Reproduced) >= 0.95);
}

#[test]
fn non_inferiority_errs_at_its_boundary_in_one_of_forty() {
    let rule = Rule::NonInferiority { margin: 1.0 };
    for verdict in [Verdict::Reproduced, Verdict::Contradicted] {
        let found = share(rule, 8, -1.0, verdict);
        assert!((0.02..=0.03).contains(&found), "{verdict}: {found}");
    }
    assert!(share(rule, 8, 1.0, Verdict::Reproduced) >= 0.95);
}

#[test]
fn a_tolerance_errs_at_its_bound_in_one_of_forty() {
    let found = share(Rule::AtMost { bound: 3.0 }, 5, 3.0, Verdict::Reproduced);
    assert!((0.02..=0.03).contains(&found), "{found}");
    let rule = Rule::Within { target: 3.0, within: 3.0 };
    let found = share(rule, 5, 6.0, Verdict::Reproduced);
    assert!((0.02..=0.03).contains(&found), "{found}");
}

#[test]
fn the_planned_number_of_seeds_has_its_power() {
    let rule = Rule::Superiority { margin: 0.0 };
    for effect in [0.5, 1.0] {
        let seeds = taper_lab::stats::seeds_needed(&[effect], 1.0, 0.95, 0.8).unwrap().unwrap();
        let found = share(rule, seeds as usize, effect, Verdict::Reproduced);
        assert!((0.78..=0.84).contains(&found), "{seeds} seeds for {effect}: {found}");
    }
}
