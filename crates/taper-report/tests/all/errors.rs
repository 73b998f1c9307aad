//! What breaks a field's contract is named.

use taper_report::{Report, csv, html, latex, markdown};

use crate::fixture;

#[test]
fn a_broken_contract_is_named_with_what_was_expected() {
    let message = |break_it: fn(&mut Report)| {
        let mut report = fixture::report();
        break_it(&mut report);
        html(&report).unwrap_err().to_string()
    };
    assert_eq!(
        message(|report| report.claims[0].id = "BN faster".into()),
        "html: id of a claim should be lower-case letters, digits and hyphens, got `BN faster`"
    );
    assert_eq!(
        message(|report| report.claims[1].id = report.claims[0].id.clone()),
        "html: id of a claim should be unique in the report, got `bn-converges-faster`"
    );
    let unique = "html: id of a figure of `bn-converges-faster` should be lower-case letters, digits \
                  and hyphens, unique in the claim and not `criteria`, got ";
    let same = message(|report| report.claims[0].figures[1].id = "curves".into());
    assert_eq!(same, format!("{unique}`curves`"));
    let taken = message(|report| report.claims[0].figures[1].id = "criteria".into());
    assert_eq!(taken, format!("{unique}`criteria`"));
    assert_eq!(
        message(|report| report.claims[0].url = Some("javascript:alert(1)".into())),
        "html: url of `bn-converges-faster` should be an http:// or https:// address, got \
         `javascript:alert(1)`"
    );
    for href in ["javascript:alert(1)", "/etc/passwd", "\\\\server", "//server/x", ""] {
        let mut report = fixture::report();
        report.claims[0].runs[3].href = href.into();
        let message = html(&report).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "html: href of a run of `bn-converges-faster` should be a relative path, got `{href}`"
            )
        );
    }
}

#[test]
fn every_format_checks() {
    let mut report = fixture::report();
    report.claims[0].id = String::new();
    let start =
        |error: taper_report::Error| error.to_string().split(':').next().unwrap().to_owned();
    assert_eq!(start(html(&report).unwrap_err()), "html");
    assert_eq!(start(markdown(&report).unwrap_err()), "markdown");
    assert_eq!(start(latex(&report).unwrap_err()), "latex");
    assert_eq!(start(csv(&report).unwrap_err()), "csv");
}
