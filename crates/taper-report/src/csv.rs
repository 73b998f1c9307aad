//! The raw numbers.

use crate::check::check;
use crate::{Error, Report, Result};

const HEADER: [&str; 7] = ["claim", "scale", "arm", "seed", "measure", "value", "censored"];

/// The report's raw numbers: one row a claim, arm, seed and measure, with every digit.
///
/// # Errors
///
/// An id, a `url` or a run's `href` breaks its contract.
pub fn csv(report: &Report) -> Result<String> {
    check("csv", report)?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER).map_err(failed)?;
    for claim in &report.claims {
        for arm in &claim.arms {
            for measure in &arm.measures {
                for at in &measure.values {
                    let row = [
                        &claim.id,
                        &claim.scale,
                        &arm.name,
                        &at.seed.to_string(),
                        &measure.name,
                        &at.value.to_string(),
                        &at.censored.to_string(),
                    ];
                    writer.write_record(row).map_err(failed)?;
                }
            }
        }
    }
    String::from_utf8(writer.into_inner().map_err(failed)?).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Csv(error.to_string())
}
