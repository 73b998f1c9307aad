//! The report as a page.

use minijinja::context;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};

use crate::check::check;
use crate::page::Page;
use crate::plot::stylesheet;
use crate::template::fill;
use crate::{Report, Result};

/// The report as one self-contained HTML page: no script, nothing fetched, light or dark as the
/// reader's system is set. Links to runs are relative to where the page is put.
///
/// # Errors
///
/// An id, a `url` or a run's `href` breaks its contract.
pub fn html(report: &Report) -> Result<String> {
    check("html", report)?;
    let context = context! {
        page => Value::from(Serde(Page::new(report)?)),
        style => include_str!("../templates/report.css"),
        plot_style => stylesheet(),
    };
    fill(include_str!("../templates/report.html"), SyntaxConfig::builder(), None, context)
}
