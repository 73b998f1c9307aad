//! One criterion, or one part of a compound one, worked out.

use serde::Serialize;
use taper_core::{Result, Stream};

use super::{Rule, Verdict};
use crate::stats::{
    self, Interval, MOST_SEEDS, RESAMPLES, SignFlip, bca_interval, seeds_needed, sign_flip,
    student_interval, student_p,
};

/// Below this many seeds a finding is marked.
pub const FEW_SEEDS: u64 = 5;

/// From this many values on a bootstrap interval is worth showing.
const LEAST_FOR_BCA: usize = 8;

/// The power that [`Finding::seeds_needed`] plans for.
const POWER: f64 = 0.8;

/// A verdict with what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What the effect is, such as `steps: ln(plain / bn)`.
    pub quantity: String,
    /// What it is held against.
    pub rule: Rule,
    /// The verdict.
    pub verdict: Verdict,
    /// The number of seeds.
    pub n: u64,
    /// The mean over seeds, in the claimed direction where there is one; for an identity the value
    /// farthest from 0. NaN without seeds.
    pub effect: f64,
    /// The standard deviation over seeds; NaN below two.
    pub sd: f64,
    /// The Student interval that decided; none below two seeds, for values that are not finite, and
    /// for an identity.
    pub interval: Option<Interval>,
    /// The unadjusted p-value of the bound that had to be cleared; none without an interval or
    /// without spread.
    pub p: Option<f64>,
    /// The same without the assumption of normality.
    pub sign_flip: Option<SignFlip>,
    /// The bootstrap interval, from eight seeds on.
    pub bca: Option<Interval>,
    /// How many seeds would settle an inconclusive verdict with a probability of 80%, if mean and
    /// spread are what they seem; none where 10,000 would not do.
    pub seeds_needed: Option<u64>,
    /// Whether there are fewer than [`FEW_SEEDS`].
    pub few_seeds: bool,
    /// What a reader should know, as sentences.
    pub notes: Vec<String>,
}

impl Finding {
    /// Judges `effects`, one number a seed, by `rule`.
    ///
    /// `stream` gives the bootstrap's resamples and the sign patterns of large samples; where it
    /// stands does not matter.
    ///
    /// # Errors
    ///
    /// None that comes from `effects`: they may be few, equal, or not finite.
    pub fn new(
        quantity: impl Into<String>,
        rule: Rule,
        effects: &[(u64, f64)],
        stream: &Stream,
    ) -> Result<Self> {
        let values: Vec<f64> = effects.iter().map(|(_, value)| *value).collect();
        let mut finding = Self {
            quantity: quantity.into(),
            rule,
            verdict: Verdict::Inconclusive,
            n: values.len() as u64,
            effect: stats::mean(&values),
            sd: stats::sd(&values),
            interval: None,
            p: None,
            sign_flip: None,
            bca: None,
            seeds_needed: None,
            few_seeds: (values.len() as u64) < FEW_SEEDS,
            notes: Vec::new(),
        };
        for (seed, value) in effects.iter().filter(|(_, value)| !value.is_finite()) {
            finding
                .notes
                .push(format!("At seed {seed} the value is {value}, not a finite number."));
        }
        if let Rule::Identity { within } = rule {
            finding.ask_every_value(effects, within);
        } else if values.len() < 2 {
            finding.notes.push(format!(
                "There is no interval: {} of the at least 2 seeds that it needs.",
                values.len()
            ));
        } else if finding.notes.is_empty() {
            finding.ask_the_interval(&values, stream)?;
        }
        Ok(finding)
    }

    fn ask_every_value(&mut self, effects: &[(u64, f64)], within: f64) {
        let farthest = effects.iter().map(|(_, value)| value.abs()).reduce(f64::max);
        self.effect = farthest.unwrap_or(f64::NAN);
        let outside: Vec<_> = effects.iter().filter(|(_, value)| value.abs() > within).collect();
        for (seed, value) in &outside {
            self.notes.push(format!("At seed {seed} the value is {value}, beyond {within}."));
        }
        self.verdict = if !outside.is_empty() {
            Verdict::Contradicted
        } else if effects.is_empty() || effects.iter().any(|(_, value)| value.is_nan()) {
            Verdict::Inconclusive
        } else {
            Verdict::Reproduced
        };
    }

    fn ask_the_interval(&mut self, values: &[f64], stream: &Stream) -> Result<()> {
        let level = self.rule.level();
        let interval = student_interval(values, level)?;
        self.verdict = self.rule.decide(&interval);
        self.interval = Some(interval);
        self.p = self.p_value(values)?;
        self.sign_flip = self.sign_flip_p(values, &mut stream.child("sign-flip"))?;
        if values.len() >= LEAST_FOR_BCA {
            let resamples = &mut stream.child("bootstrap");
            self.bca = Some(bca_interval(values, level, RESAMPLES, resamples)?);
        }
        if self.sd == 0.0 {
            let note = "Every seed gave the same value: the interval has no width, and says \
                        nothing about other data.";
            self.notes.push(note.to_owned());
        } else if self.verdict == Verdict::Inconclusive && self.sd.is_finite() {
            let distances = self.rule.distances(self.effect);
            self.seeds_needed = seeds_needed(&distances, self.sd, level, POWER)?;
            if self.seeds_needed.is_none() {
                self.notes.push(format!(
                    "At this mean and spread not even {MOST_SEEDS} seeds would settle it."
                ));
            }
        }
        Ok(())
    }

    /// One test, or the larger p of the two one-sided ones (Schuirmann 1987), doubled where the
    /// interval gives each side 2.5%.
    fn p_value(&self, values: &[f64]) -> Result<Option<f64>> {
        let mut largest = Some(0.0);
        for (null, alternative) in self.rule.tests() {
            let p = student_p(values, null, alternative)?;
            largest = largest.zip(p).map(|(a, b): (f64, f64)| a.max(b));
        }
        Ok(largest.map(|p| (self.rule.tails() * p).min(1.0)))
    }

    fn sign_flip_p(&self, values: &[f64], stream: &mut Stream) -> Result<Option<SignFlip>> {
        let mut largest: Option<SignFlip> = None;
        for (null, alternative) in self.rule.tests() {
            let found = sign_flip(values, null, alternative, stream)?;
            largest = Some(largest.filter(|other| other.p > found.p).unwrap_or(found));
        }
        let tails = self.rule.tails();
        Ok(largest.map(|found| SignFlip {
            p: (tails * found.p).min(1.0),
            least: (tails * found.least).min(1.0),
            ..found
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUPERIOR: Rule = Rule::Superiority { margin: 0.0 };

    fn find(rule: Rule, values: &[f64]) -> Finding {
        let effects: Vec<_> = (1000..).zip(values.iter().copied()).collect();
        Finding::new("a - b", rule, &effects, &taper_core::stream(0, "finding")).unwrap()
    }

    #[test]
    fn hand_numbers() {
        // Mean 3, sd 1, half-width t(.975, 4) / sqrt(5) = 2.776445 / 2.236068 = 1.241664 for
        // 3 -+ sqrt(1.25) twice and 3.
        let far = 1.25_f64.sqrt() * 0.8_f64.sqrt() * 2.0_f64.sqrt();
        let found = find(SUPERIOR, &[3.0 - far, 3.0, 3.0, 3.0, 3.0 + far]);
        let interval = found.interval.unwrap();
        assert!((found.sd - 1.0).abs() < 1e-12);
        assert!((interval.low - 1.758_336).abs() < 1e-6, "{interval:?}");
        assert_eq!((found.verdict, found.n, found.few_seeds), (Verdict::Reproduced, 5, false));
        assert_eq!(found.sign_flip.map(|flip| (flip.p, flip.least)), Some((0.0625, 0.0625)));
        assert_eq!((found.bca, found.seeds_needed), (None, None));
        assert!(found.notes.is_empty());
    }

    #[test]
    fn an_open_verdict_says_how_many_seeds_would_do() {
        // Mean 1 and sd 2: half a standard deviation, 34 seeds (see `seeds_needed`).
        let found = find(SUPERIOR, &[-1.0, 1.0, 3.0]);
        assert_eq!((found.verdict, found.sd), (Verdict::Inconclusive, 2.0));
        assert_eq!((found.seeds_needed, found.few_seeds), (Some(34), true));
        let on_the_bound = find(SUPERIOR, &[-1.0, 0.0, 1.0]);
        assert_eq!(on_the_bound.seeds_needed, None);
        assert!(on_the_bound.notes[0].contains("not even 10000 seeds"));
    }

    #[test]
    fn too_few_seeds_settle_nothing() {
        for (values, note) in [(&[][..], "0 of the"), (&[5.0], "1 of the")] {
            let found = find(SUPERIOR, values);
            assert_eq!((found.verdict, found.interval), (Verdict::Inconclusive, None));
            assert!(found.few_seeds && found.notes[0].contains(note), "{:?}", found.notes);
        }
    }

    #[test]
    fn without_spread_the_rule_stands() {
        let found = find(SUPERIOR, &[0.1; 10]);
        assert_eq!((found.verdict, found.p), (Verdict::Reproduced, None));
        assert_eq!(found.bca, found.interval);
        assert!(found.notes[0].starts_with("Every seed gave the same value"));
        assert_eq!(find(SUPERIOR, &[0.0; 10]).verdict, Verdict::Inconclusive);
        assert_eq!(find(Rule::Equivalence { margin: 0.5 }, &[0.0; 2]).verdict, Verdict::Reproduced);
    }

    #[test]
    fn a_value_that_is_no_number_is_named() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let found = find(SUPERIOR, &[1.0, 1.1, bad, 1.2]);
            assert_eq!((found.verdict, found.interval), (Verdict::Inconclusive, None));
            let note = format!("At seed 1002 the value is {bad}, not a finite number.");
            assert_eq!(found.notes, [note]);
        }
    }

    #[test]
    fn an_identity_asks_every_value() {
        let rule = Rule::Identity { within: 0.5 };
        let found = find(rule, &[0.5, -0.25]);
        assert_eq!((found.verdict, found.effect), (Verdict::Reproduced, 0.5));
        assert_eq!(find(rule, &[0.0]).verdict, Verdict::Reproduced);
        let found = find(rule, &[0.0, -0.75, 0.0]);
        assert_eq!((found.verdict, found.effect), (Verdict::Contradicted, 0.75));
        assert_eq!(found.notes, ["At seed 1001 the value is -0.75, beyond 0.5."]);
        assert_eq!(find(rule, &[0.0, f64::NAN]).verdict, Verdict::Inconclusive);
        assert_eq!(find(rule, &[0.0, f64::INFINITY]).verdict, Verdict::Contradicted);
        assert_eq!(find(rule, &[]).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn p_values_fall_below_five_percent_where_the_interval_clears() {
        let values = [0.3, -0.1, 0.2, 0.4, 0.1, 0.0, 0.25, 0.15];
        for margin in (1..60).map(|step| f64::from(step) * 0.01) {
            for rule in [
                Rule::Equivalence { margin },
                Rule::Within { target: 0.1, within: margin },
                Rule::AtMost { bound: margin },
            ] {
                let found = find(rule, &values);
                let settled = found.p.unwrap() < 0.05;
                let expected = match rule {
                    Rule::AtMost { .. } => found.verdict != Verdict::Inconclusive,
                    _ => found.verdict == Verdict::Reproduced,
                };
                assert_eq!(settled, expected, "{found:?}");
            }
        }
    }

    #[test]
    fn enormous_values_are_survived() {
        let found = find(SUPERIOR, &[f64::MAX, -f64::MAX, f64::MAX, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(found.verdict, Verdict::Inconclusive);
        find(SUPERIOR, &[1e200, -1e200, 3e200]);
        find(SUPERIOR, &[1e-200, -1e-200, 3e-200]);
    }
}
