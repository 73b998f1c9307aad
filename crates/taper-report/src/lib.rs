//! Findings in, report out.
//!
//! A harness fills in a [`Report`], which is plain data, and gets it back as a page ([`html`]), as
//! [`markdown`] with its figures, as tables for a paper ([`latex`]), or as the raw numbers ([`csv`]).
//! All four hold the same content. The same report gives the same bytes: nothing here reads a clock,
//! a file or a font.
//!
//! ```
//! use taper_report::{Made, Report, html};
//!
//! let report = Report {
//!     title: "Which claims held".into(),
//!     summary: "None was put to the test.".into(),
//!     claims: vec![],
//!     made: Made {
//!         version: "taper 0.1.0".into(),
//!         code: "5f2a".into(),
//!         command: "cargo xtask reproduce".into(),
//!         generated_at: "2026-01-31 12:00 UTC".into(),
//!         seconds: 0.0,
//!         machine: vec![],
//!         data: vec![],
//!     },
//! };
//! assert!(html(&report)?.starts_with("<!DOCTYPE html>"));
//! # Ok::<(), taper_report::Error>(())
//! ```

mod check;
mod csv;
mod error;
mod figure;
mod html;
mod latex;
mod markdown;
mod number;
mod page;
mod plot;
mod report;
mod svg;
mod template;

pub use self::csv::csv;
pub use error::{Error, Result};
pub use figure::{Axis, Figure, Mark, Panel, Place, Scale};
pub use html::html;
pub use latex::latex;
pub use markdown::{FigureFile, Markdown, markdown};
pub use number::number;
pub use report::{
    Arm, Badge, Claim, Criterion, DataSet, Effect, Interval, Made, Measure, Range, Report, Run,
    SeedValue, SignFlip, Tone, Tuning,
};
pub use svg::svg;
