//! From the runs in the store to a verdict.

use crate::criterion::Evaluation;
use crate::error::{Error, Result};
use crate::outcomes::Outcomes;
use crate::plan::{Machinery, Run, Selection};
use crate::runner::{self, Found};
use crate::store::Store;
use crate::verdict::{Verdict, combine};

/// A claim at one scale with everything that its report needs.
#[derive(Debug)]
pub(crate) struct Evaluated<'a> {
    /// What was asked for.
    pub(crate) selection: Selection<'a>,
    /// Its runs, each with what the store has of it.
    pub(crate) runs: Vec<(Run<'a>, Option<Found>)>,
    /// What came of it.
    pub(crate) standing: Standing,
}

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Standing {
    /// It cannot be tested at this scale, and why.
    NotTestable(String),
    /// Runs are missing, so many.
    Incomplete(usize),
    /// The verdict, and each criterion's evaluation in the spec's order.
    Judged(Verdict, Vec<Evaluation>),
}

/// The runs that the selection asks for; none where the claim is not testable at its scale.
pub(crate) fn runs<'a>(
    selection: &Selection<'a>,
    machinery: Machinery<'_>,
) -> Result<Vec<Run<'a>>> {
    match selection.scale.not_testable {
        Some(_) => Ok(Vec::new()),
        None => selection.runs(machinery),
    }
}

/// Reads the selection's runs back and applies the criteria to them.
pub(crate) fn evaluate<'a>(
    store: &Store,
    selection: Selection<'a>,
    machinery: Machinery<'_>,
    accept_older_code: bool,
) -> Result<Evaluated<'a>> {
    let mut found = Vec::new();
    for run in runs(&selection, machinery)? {
        let there = runner::find(store, &run, accept_older_code)?;
        found.push((run, there));
    }
    let missing = found.iter().filter(|(_, there)| there.is_none()).count();
    let standing = match &selection.scale.not_testable {
        Some(reason) => Standing::NotTestable(reason.clone()),
        None if missing > 0 => Standing::Incomplete(missing),
        None => judge(&selection, &found)?,
    };
    Ok(Evaluated { selection, runs: found, standing })
}

fn judge(selection: &Selection<'_>, runs: &[(Run<'_>, Option<Found>)]) -> Result<Standing> {
    let mut outcomes = Outcomes::default();
    for (run, found) in runs {
        if let Some(found) = found {
            outcomes.insert(&run.key.arm, run.key.seed, found.history.measures.clone());
        }
    }
    let spec = &selection.entry.spec;
    let mut evaluations = Vec::new();
    for (index, criterion) in spec.criteria_at(selection.scale.scale).enumerate() {
        // The resampling of one criterion never depends on another.
        let stream = taper_core::stream(0, &format!("{}/criterion-{index}", spec.name));
        let evaluation =
            criterion.evaluate(&outcomes, &selection.seeds, &stream).map_err(|error| {
                Error::Criterion { experiment: spec.name.clone(), reason: error.to_string() }
            })?;
        evaluations.push(evaluation);
    }
    let verdicts: Vec<Verdict> = evaluations.iter().map(|evaluation| evaluation.verdict).collect();
    Ok(Standing::Judged(combine(&verdicts), evaluations))
}

/// The Holm-adjusted p-values of a report: over every p-value of all its claims, in the same order.
pub(crate) fn adjusted(claims: &[Evaluated<'_>]) -> Result<Vec<f64>> {
    let p_values: Vec<f64> = claims
        .iter()
        .flat_map(|claim| match &claim.standing {
            Standing::Judged(_, evaluations) => evaluations.as_slice(),
            _ => &[],
        })
        .flat_map(|evaluation| &evaluation.findings)
        .filter_map(|finding| finding.p)
        .collect();
    crate::stats::holm(&p_values)
        .map_err(|error| Error::Internal(format!("Holm's adjustment: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Registry;
    use crate::key::DeviceKind;
    use crate::spec::Scale;
    use crate::toy::Toy;

    #[test]
    fn a_claim_that_cannot_be_tested_has_no_runs_and_says_why() {
        let registry = Registry::new().with::<Toy>();
        let selection = Selection::new(registry.find("toy").unwrap(), Scale::Paper, None, &[]);
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let machinery = Machinery { sources: "none", device: DeviceKind::Cpu };
        let claim = evaluate(&store, selection.unwrap(), machinery, false).unwrap();
        assert!(claim.runs.is_empty());
        assert!(
            matches!(claim.standing, Standing::NotTestable(reason) if reason == "there is no paper")
        );
    }
}
