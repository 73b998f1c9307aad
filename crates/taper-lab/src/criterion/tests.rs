//! Every kind by hand numbers, read from the table that a spec would have.

use std::collections::BTreeMap;

use super::{Criterion, Evaluation};
use crate::outcomes::{Measured, Outcomes};
use crate::verdict::{Finding, Rule, Verdict};

const SEEDS: [u64; 5] = [1000, 1001, 1002, 1003, 1004];

fn read(table: &str) -> Criterion {
    toml::from_str(table).unwrap()
}

/// The measure `x` of each arm at the five seeds; those in `censored` are marked so.
fn outcomes(arms: &[(&str, [f64; 5])], censored: &[(&str, u64)]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (arm, values) in arms {
        for (seed, value) in SEEDS.into_iter().zip(*values) {
            let measured = Measured { value, censored: censored.contains(&(arm, seed)) };
            outcomes.insert(arm, seed, BTreeMap::from([("x".to_owned(), measured)]));
        }
    }
    outcomes
}

fn evaluate(table: &str, arms: &[(&str, [f64; 5])]) -> Evaluation {
    let stream = taper_core::stream(0, "criterion");
    read(table).evaluate(&outcomes(arms, &[]), &SEEDS, &stream).unwrap()
}

fn one(table: &str, arms: &[(&str, [f64; 5])]) -> Finding {
    let mut evaluation = evaluate(table, arms);
    assert_eq!(evaluation.findings.len(), 1);
    assert!(table.starts_with(&format!("kind = '{}'", read(table).kind())));
    let finding = evaluation.findings.remove(0);
    assert_eq!(evaluation.verdict, finding.verdict);
    finding
}

fn refused(table: &str) -> String {
    read(table).check().unwrap_err().to_string()
}

const PAIR: [(&str, [f64; 5]); 2] =
    [("a", [5.0, 6.0, 7.0, 8.0, 9.0]), ("b", [1.0, 3.0, 3.0, 5.0, 5.0])];

#[test]
fn a_difference_is_taken_seed_by_seed_in_the_claimed_direction() {
    let table = |direction: &str, margin: f64| {
        format!(
            "kind = 'difference'\nname = 'n'\nmeasure = 'x'\ntreatment = 'a'\nbaseline = 'b'\n\
             direction = '{direction}'\nmargin = {margin}"
        )
    };
    // 4, 3, 4, 3, 4: mean 3.6, sd sqrt(.3), half-width 2.776445 * sqrt(.3 / 5) = .680087.
    let found = one(&table("higher", 0.0), &PAIR);
    assert_eq!((found.quantity.as_str(), found.verdict), ("x: a - b", Verdict::Reproduced));
    assert!((found.effect - 3.6).abs() < 1e-12);
    assert!((found.interval.unwrap().low - (3.6 - 0.680_087)).abs() < 1e-5);
    assert_eq!(one(&table("higher", 3.5), &PAIR).verdict, Verdict::Inconclusive);
    assert_eq!(one(&table("higher", 5.0), &PAIR).verdict, Verdict::Weaker);
    let found = one(&table("lower", 0.0), &PAIR);
    assert_eq!((found.quantity.as_str(), found.verdict), ("x: b - a", Verdict::Contradicted));
}

#[test]
fn a_log_ratio_has_the_logarithm_of_its_ratio_as_margin() {
    let table = |ratio: &str| {
        format!(
            "kind = 'log-ratio'\nname = 'n'\nmeasure = 'x'\ntreatment = 'b'\nbaseline = 'a'\n\
             direction = 'lower'\n{ratio}"
        )
    };
    let arms = [("a", [200.0; 5]), ("b", [50.0; 5])];
    let found = one(&table("ratio = 2.0"), &arms);
    assert_eq!(found.rule, Rule::Superiority { margin: 2.0_f64.ln() });
    assert_eq!((found.quantity.as_str(), found.verdict), ("x: ln(a / b)", Verdict::Reproduced));
    assert!((found.effect - 4.0_f64.ln()).abs() < 1e-12);
    assert_eq!(one(&table("ratio = 8"), &arms).verdict, Verdict::Weaker);
    assert_eq!(one(&table(""), &arms).rule, Rule::Superiority { margin: 0.0 });
    // The logarithm of 0 is no finite effect.
    let found = one(&table(""), &[("a", [1.0; 5]), ("b", [1.0, 1.0, 0.0, 1.0, 1.0])]);
    assert_eq!(found.verdict, Verdict::Inconclusive);
    assert_eq!(found.notes, ["At seed 1002 the value is inf, not a finite number."]);
}

#[test]
fn equivalence_and_non_inferiority() {
    let table = |kind: &str, margin: f64| {
        let direction = if kind == "equivalence" { "" } else { "direction = 'higher'" };
        format!(
            "kind = '{kind}'\nname = 'n'\nmeasure = 'x'\ntreatment = 'b'\nbaseline = 'a'\n\
             margin = {margin}\n{direction}"
        )
    };
    // b - a: mean -3.6; the 90% half-width is 2.131847 * sqrt(.06) = .522194.
    assert_eq!(one(&table("equivalence", 4.2), &PAIR).verdict, Verdict::Reproduced);
    assert_eq!(one(&table("equivalence", 4.0), &PAIR).verdict, Verdict::Inconclusive);
    assert_eq!(one(&table("equivalence", 3.0), &PAIR).verdict, Verdict::Contradicted);
    assert_eq!(one(&table("equivalence", 3.0), &PAIR).interval.unwrap().level, 0.9);
    assert_eq!(one(&table("non-inferiority", 4.3), &PAIR).verdict, Verdict::Reproduced);
    assert_eq!(one(&table("non-inferiority", 4.2), &PAIR).verdict, Verdict::Inconclusive);
    assert_eq!(one(&table("non-inferiority", 2.9), &PAIR).verdict, Verdict::Contradicted);
}

#[test]
fn an_order_is_a_compound_of_adjacent_pairs() {
    let table = "kind = 'order'\nname = 'n'\nmeasure = 'x'\narms = ['a', 'b', 'c']";
    let arms = |c| [("a", [1.0; 5]), ("b", [2.0; 5]), ("c", [c; 5])];
    let evaluation = evaluate(table, &arms(3.0));
    assert_eq!(evaluation.verdict, Verdict::Reproduced);
    let quantities: Vec<&str> =
        evaluation.findings.iter().map(|finding| finding.quantity.as_str()).collect();
    assert_eq!(quantities, ["x: b - a", "x: c - b"]);
    assert_eq!(evaluate(table, &arms(1.5)).verdict, Verdict::Contradicted);
    assert_eq!(evaluate(table, &arms(2.0)).verdict, Verdict::Inconclusive);
    let with_margin = format!("{table}\nmargin = 0.75");
    assert_eq!(evaluate(&with_margin, &arms(2.5)).verdict, Verdict::Weaker);
}

#[test]
fn exactly_the_required_number_satisfies_a_count() {
    let table = |rest: &str| {
        format!("kind = 'count'\nname = 'n'\nmeasure = 'x'\narms = ['a', 'b', 'c']\n{rest}")
    };
    let arms =
        [("a", [0.8, 0.9, 0.9, 0.8, 0.8]), ("b", [0.9; 5]), ("c", [0.1, 0.1, f64::NAN, 0.1, 0.1])];
    let higher = "threshold = 0.8\ndirection = 'higher'\n";
    let found = one(&table(&format!("{higher}at_least = 2")), &arms);
    assert_eq!((found.effect, found.verdict), (2.0, Verdict::Reproduced));
    assert_eq!(found.quantity, "x: arms at or above 0.8 (of 3)");
    let verdict = |rest: &str| one(&table(rest), &arms).verdict;
    assert_eq!(verdict(&format!("{higher}at_least = 3")), Verdict::Contradicted);
    assert_eq!(verdict(&format!("{higher}at_most = 2")), Verdict::Reproduced);
    assert_eq!(verdict(&format!("{higher}at_most = 1")), Verdict::Contradicted);
    // From below 1, 0, 0, 1, 1 and c but for its NaN: 2, 1, 0, 2, 2.
    let found = one(&table("threshold = 0.8\ndirection = 'lower'\nat_least = 1"), &arms);
    assert!((found.effect - 1.4).abs() < 1e-12);
    assert_eq!(found.verdict, Verdict::Inconclusive);
}

#[test]
fn a_tolerance_bounds_a_value_or_a_ratio() {
    let table =
        |rest: &str| format!("kind = 'tolerance'\nname = 'n'\nmeasure = 'x'\narm = 'a'\n{rest}");
    let arms = [("a", [2.0, 4.0, 6.0, 8.0, 10.0]), ("b", [1.0, 2.0, 3.0, 4.0, 5.0])];
    let verdict = |rest: &str| one(&table(rest), &arms).verdict;
    // Mean 6, sd sqrt(10), half-width 2.776445 * sqrt(2) = 3.926486.
    assert_eq!(verdict("at_most = 10"), Verdict::Reproduced);
    assert_eq!(verdict("at_most = 9.9"), Verdict::Inconclusive);
    assert_eq!(verdict("at_most = 2.0"), Verdict::Contradicted);
    assert_eq!(verdict("at_least = 2"), Verdict::Reproduced);
    assert_eq!(verdict("at_least = 10"), Verdict::Contradicted);
    assert_eq!(verdict("target = 6\nwithin = 4"), Verdict::Reproduced);
    assert_eq!(verdict("target = 6\nwithin = 3.9"), Verdict::Inconclusive);
    assert_eq!(verdict("target = 16\nwithin = 6"), Verdict::Contradicted);
    let found = one(&table("relative_to = 'b'\ntarget = 2\nwithin = 0.001"), &arms);
    assert_eq!((found.quantity.as_str(), found.effect), ("x: a / b", 2.0));
    assert_eq!(found.verdict, Verdict::Reproduced);
}

#[test]
fn an_identity_holds_at_every_seed_or_not_at_all() {
    let table = "kind = 'identity'\nname = 'n'\nmeasure = 'x'\narm = 'a'\nwithin = 1e-6";
    let values = |last| [("a", [0.0, 1e-7, -1e-6, 0.0, last])];
    assert_eq!(one(table, &values(0.0)).verdict, Verdict::Reproduced);
    assert_eq!(one(table, &values(-2e-6)).verdict, Verdict::Contradicted);
    assert_eq!(one(table, &values(f64::NAN)).verdict, Verdict::Inconclusive);
}

#[test]
fn censored_values_are_used_and_said() {
    let table = "kind = 'log-ratio'\nname = 'n'\nmeasure = 'x'\ntreatment = 'bn'\n\
                 baseline = 'plain'\ndirection = 'lower'";
    let arms = [("bn", [100.0; 5]), ("plain", [3000.0; 5])];
    let censored = [("plain", 1000), ("plain", 1003), ("bn", 1001)];
    let stream = taper_core::stream(0, "criterion");
    let evaluation = read(table).evaluate(&outcomes(&arms, &censored), &SEEDS, &stream).unwrap();
    let finding = &evaluation.findings[0];
    assert_eq!(finding.verdict, Verdict::Reproduced);
    assert!((finding.effect - 30.0_f64.ln()).abs() < 1e-12);
    let notes: Vec<_> =
        finding.notes.iter().filter(|note| note.contains("censored")).map(String::as_str).collect();
    assert_eq!(
        notes,
        [
            "`x` of the arm `plain` is censored at 2 of 5 seeds and counts as the budget, which \
             makes the claim look weaker than it is.",
            "`x` of the arm `bn` is censored at 1 of 5 seeds and counts as the budget, which makes \
             the claim look stronger than it is.",
        ]
    );
}

#[test]
fn what_was_not_measured_is_an_error() {
    let table = "kind = 'identity'\nname = 'n'\nmeasure = 'y'\narm = 'a'\nwithin = 1e-6";
    let stream = taper_core::stream(0, "criterion");
    let error = read(table).evaluate(&outcomes(&PAIR, &[]), &SEEDS, &stream).unwrap_err();
    assert_eq!(
        error.to_string(),
        "outcomes: measure of the arm `a` at seed 1000 should be `x`, got `y`"
    );
}

#[test]
fn a_table_tells_what_it_is_about() {
    let criterion = read(
        "kind = 'tolerance'\nname = 'near PCA'\npaper = '13.87'\nmeasure = 'sse'\narm = 'linear'\n\
         relative_to = 'pca'\nat_most = 1.01",
    );
    assert_eq!((criterion.name(), criterion.paper()), ("near PCA", Some("13.87")));
    assert_eq!(criterion.kind(), "tolerance");
    assert_eq!((criterion.measure(), criterion.arms()), ("sse", vec!["linear", "pca"]));
}

#[test]
fn tables_that_make_no_sense_are_refused() {
    let pair = "name = 'n'\nmeasure = 'x'\ntreatment = 'a'\nbaseline = 'b'\n";
    let higher = "direction = 'higher'\n";
    assert_eq!(
        refused(&format!("kind = 'difference'\n{pair}{higher}margin = -1")),
        "criterion: margin of \"n\" should be 0 or more, in the claimed direction, got -1"
    );
    assert!(
        refused(&format!("kind = 'log-ratio'\n{pair}{higher}ratio = 0.5")).contains("1 or more")
    );
    assert!(refused(&format!("kind = 'equivalence'\n{pair}margin = 0")).contains("above 0"));
    assert!(
        refused(&format!("kind = 'non-inferiority'\n{pair}{higher}margin = 0")).contains("above 0")
    );
    let itself = format!("kind = 'difference'\n{pair}{higher}").replace("'b'", "'a'");
    assert!(refused(&itself).contains("different from each other, got a"));

    let order = |arms: &str| {
        refused(&format!("kind = 'order'\nname = 'n'\nmeasure = 'x'\nmargin = 0\narms = {arms}"))
    };
    assert!(order("['a']").contains("at least 2 arms"));
    assert!(order("['a', 'b', 'a']").contains("different from each other, got a"));

    let count = |rest: &str| {
        refused(&format!(
            "kind = 'count'\nname = 'n'\nmeasure = 'x'\narms = ['a', 'b']\nthreshold = 1\n\
             direction = 'higher'\n{rest}"
        ))
    };
    assert!(count("").contains("got neither"));
    assert!(count("at_least = 1\nat_most = 1").contains("got both"));
    assert!(count("at_least = 0").contains("from 1 to the number of arms (2)"));
    assert!(count("at_least = 3").contains("from 1 to the number of arms (2)"));
    assert!(count("at_most = 2").contains("below the number of arms (2)"));

    let tolerance = |rest: &str| {
        refused(&format!("kind = 'tolerance'\nname = 'n'\nmeasure = 'x'\narm = 'a'\n{rest}"))
    };
    assert!(tolerance("").contains("at_most, or at_least, or target and within, got []"));
    assert!(tolerance("target = 1").contains("got [target]"));
    assert!(tolerance("at_most = 1\nat_least = 0").contains("got [at_most, at_least]"));
    assert!(tolerance("at_most = nan").contains("a finite number"));
    assert!(tolerance("target = 1\nwithin = 0").contains("above 0"));
    assert!(tolerance("at_most = 1\nrelative_to = 'a'").contains("different from each other"));

    let identity = "kind = 'identity'\nname = 'n'\nmeasure = 'x'\narm = 'a'\nwithin = -1";
    assert!(refused(identity).contains("0 or more"));
}

#[test]
fn keys_and_kinds_are_a_closed_set() {
    let identity = "kind = 'identity'\nname = 'n'\nmeasure = 'x'\narm = 'a'\nwithin = 1";
    for (table, part) in [
        (format!("{identity}\nmargin = 1"), "unknown field `margin`"),
        (identity.replace("'identity'", "'similarity'"), "unknown variant `similarity`"),
        (identity.replace("within = 1", ""), "missing field `within`"),
        (identity.replace("kind = 'identity'", ""), "missing field `kind`"),
    ] {
        let error = toml::from_str::<Criterion>(&table).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
