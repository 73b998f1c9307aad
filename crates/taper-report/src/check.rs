//! What the types of a report cannot say, checked before anything is written.

use std::collections::BTreeSet;

use crate::{Claim, Error, Report, Result};

/// Checks ids and links, which end up in file names and attributes.
pub(crate) fn check(operation: &'static str, report: &Report) -> Result<()> {
    let wrong = |argument: String, expected, received: &str| {
        Err(Error::Argument { operation, argument, expected, received: received.to_owned() })
    };
    let mut ids = BTreeSet::new();
    for claim in &report.claims {
        if !is_id(&claim.id) {
            return wrong("id of a claim".to_owned(), ID, &claim.id);
        }
        if !ids.insert(&claim.id) {
            return wrong("id of a claim".to_owned(), "unique in the report", &claim.id);
        }
        if let Some(id) = wrong_figure_id(claim) {
            return wrong(format!("id of a figure of `{}`", claim.id), FIGURE_ID, id);
        }
        if let Some(url) = claim.url.as_ref().filter(|url| !is_web_address(url)) {
            return wrong(format!("url of `{}`", claim.id), "an http:// or https:// address", url);
        }
        if let Some(run) = claim.runs.iter().find(|run| !is_relative(&run.href)) {
            return wrong(format!("href of a run of `{}`", claim.id), "a relative path", &run.href);
        }
    }
    Ok(())
}

const ID: &str = "lower-case letters, digits and hyphens";
const FIGURE_ID: &str =
    "lower-case letters, digits and hyphens, unique in the claim and not `criteria`";

fn wrong_figure_id(claim: &Claim) -> Option<&str> {
    let mut seen = BTreeSet::new();
    let mut ids = claim.figures.iter().map(|figure| figure.id.as_str());
    // `criteria` is the forest plot's.
    ids.find(|id| !is_id(id) || *id == "criteria" || !seen.insert(*id))
}

fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(plain)
}

fn is_web_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Neither an absolute path nor an address with a scheme: `javascript:` is one.
fn is_relative(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['/', '\\']) && !text.contains(':')
}
