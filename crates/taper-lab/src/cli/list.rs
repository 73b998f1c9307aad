//! `list`: the experiments.

use std::io::Write;

use super::say;
use super::table::table;
use crate::error::Result;
use crate::experiment::Registry;

pub(super) fn list(registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let rows = registry.checked()?.iter().map(|entry| {
        let scales = entry.spec.scales.iter().map(|scale| match &scale.not_testable {
            None => format!("{} ({} seeds)", scale.scale, scale.seeds),
            Some(_) => format!("{} (not testable yet)", scale.scale),
        });
        vec![
            entry.spec.name.clone(),
            entry.spec.question.clone(),
            scales.collect::<Vec<_>>().join("\n"),
            entry.spec.source.clone(),
        ]
    });
    say(out, table(&["experiment", "question", "scales", "source"], rows.collect()))
}
