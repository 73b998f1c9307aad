//! The verdict rule: from paired effects and a margin to a verdict with its uncertainty.
//!
//! The rule decides by one interval alone ([`Rule::decide`]); everything else in a [`Finding`]
//! stands beside it for information. Verdicts are conditional on the data set. Where the rule leaves
//! something open, this module decides so:
//!
//! 1. Ends count strictly: an interval that touches a margin or the bound of a tolerance has not
//!    cleared it. Only an identity includes its bound.
//! 2. A tolerance is judged by the 95% interval, from above, below or both; only equivalence uses
//!    90%.
//! 3. With fewer than two seeds there is no interval and the verdict is inconclusive. An identity
//!    needs one seed, since it asks every value and not their mean.
//! 4. Where all seeds gave the same number the interval has no width and the rule is applied to it
//!    as it stands: a count of parameters is as good at two seeds as at ten. A note says so, because
//!    such an interval knows nothing of other test examples. Arms without variance between seeds are
//!    compared by [`bca_interval`](crate::stats::bca_interval) over the test examples' differences,
//!    and that interval goes through [`Rule::decide`].
//! 5. An effect that is not a finite number makes the verdict inconclusive; a note names the seed. An
//!    infinite value contradicts an identity, and NaN does not reach the threshold of a count.
//! 6. p-values test the bound that *reproduced* has to clear (the margin, not 0): two-sided, so
//!    they fall below 5% exactly where the interval lies wholly on one side of it. Of two bounds it
//!    is the larger of the two one-sided p-values, for a tolerance doubled, and falls below 5%
//!    exactly where the verdict is *reproduced*.
//! 7. "Few seeds" is below five.

mod finding;
mod rule;

use serde::{Deserialize, Serialize};

pub use finding::{FEW_SEEDS, Finding};
pub use rule::Rule;

/// What the seeds say about a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The effect is there, and as large as claimed.
    Reproduced,
    /// The effect is there, but smaller than claimed.
    Weaker,
    /// The opposite is the case.
    Contradicted,
    /// The seeds do not settle it.
    Inconclusive,
    /// The data at hand cannot show it.
    NotTestable,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Reproduced => "reproduced",
            Self::Weaker => "weaker than claimed",
            Self::Contradicted => "contradicted",
            Self::Inconclusive => "inconclusive",
            Self::NotTestable => "not testable",
        })
    }
}

/// The verdict on a compound of `parts`: reproduced if all parts are, contradicted if any is; else
/// weaker if every part is reproduced or weaker; else inconclusive.
///
/// Not testable if no part is testable, so also of no parts; among others such a part leaves the
/// compound open.
pub fn combine(parts: &[Verdict]) -> Verdict {
    if parts.iter().all(|part| *part == Verdict::NotTestable) {
        Verdict::NotTestable
    } else if parts.iter().all(|part| *part == Verdict::Reproduced) {
        Verdict::Reproduced
    } else if parts.contains(&Verdict::Contradicted) {
        Verdict::Contradicted
    } else if parts.iter().all(|part| matches!(part, Verdict::Reproduced | Verdict::Weaker)) {
        Verdict::Weaker
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compounds() {
        use Verdict::{Contradicted as C, Inconclusive as I, NotTestable as N, Reproduced as R};
        let w = Verdict::Weaker;
        for (parts, expected) in [
            (&[R, R][..], R),
            (&[R], R),
            (&[R, C], C),
            (&[w, C], C),
            (&[I, C], C),
            (&[N, C], C),
            (&[R, w], w),
            (&[w, w], w),
            (&[R, I], I),
            (&[w, I], I),
            (&[I, I], I),
            (&[R, N], I),
            (&[w, N], I),
            (&[N, N], N),
            (&[], N),
        ] {
            assert_eq!(combine(parts), expected, "{parts:?}");
        }
    }

    #[test]
    fn names_for_people_and_for_files() {
        assert_eq!(Verdict::Weaker.to_string(), "weaker than claimed");
        assert_eq!(format!("{:>14}", Verdict::Reproduced), "    reproduced");
        assert_eq!(serde_json::to_string(&Verdict::NotTestable).unwrap(), "\"not-testable\"");
        let read: Verdict = serde_json::from_str("\"weaker\"").unwrap();
        assert_eq!(read, Verdict::Weaker);
    }
}
