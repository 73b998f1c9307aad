//! The four formats of one report.

use std::collections::BTreeSet;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};
use taper_report::{Report, csv, html, latex, markdown};

use crate::fixture;

/// With `UPDATE_GOLDEN=1` in the environment the files are written instead of compared.
fn golden(name: &str, text: &str) {
    let path =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    // Line by line, so that a failure shows the line and not the file.
    for (number, (ours, theirs)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(ours, theirs, "{name}, line {}", number + 1);
    }
    assert_eq!(text, expected, "{name}");
}

#[test]
fn markdown_latex_and_csv_are_as_they_were() {
    let report = fixture::report();
    golden("report.md", &markdown(&report).unwrap().text);
    golden("report.tex", &latex(&report).unwrap());
    golden("report.csv", &csv(&report).unwrap());
}

/// The page is XML too, so that a strict parser finds every tag that is not closed.
pub(crate) fn parse(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap()
}

fn all<'a>(document: &'a Document<'a>, tag: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    document.descendants().filter(move |node| node.tag_name().name() == tag)
}

fn text(node: Node) -> String {
    node.descendants().filter_map(|part| part.text().filter(|_| part.is_text())).collect()
}

#[test]
fn the_page_stands_alone() {
    let page = html(&fixture::report()).unwrap();
    let document = parse(&page);
    for fetching in ["script", "img", "iframe", "object", "embed", "base", "form"] {
        assert_eq!(all(&document, fetching).count(), 0, "{fetching}");
    }
    assert!(!page.contains("@import") && !page.contains("url("));
    let links = all(&document, "link").filter_map(|link| link.attribute("href"));
    assert!(links.eq(["data:,"]));
    let ids: Vec<&str> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let mut anchors =
        all(&document, "a").filter_map(|link| link.attribute("href")?.strip_prefix('#'));
    assert!(anchors.all(|target| ids.contains(&target)));
    let labels = document.descendants().filter_map(|node| node.attribute("aria-labelledby"));
    assert!(labels.into_iter().all(|label| ids.contains(&label)));
}

#[test]
fn the_page_opens_with_the_verdicts() {
    let page = html(&fixture::report()).unwrap();
    let document = parse(&page);
    let table = all(&document, "table").next().unwrap();
    let rows: Vec<Vec<String>> = table
        .descendants()
        .filter(|node| node.tag_name().name() == "tr")
        .map(|row| row.children().filter(Node::is_element).map(text).collect())
        .collect();
    assert_eq!(rows[0], ["Claim", "Verdict", "Effect [interval]", "Paper", "Ours", "Seeds"]);
    assert_eq!(rows.len(), 6);
    assert!(rows[1][0].starts_with("Batch normalization reaches"));
    assert_eq!(rows[1][1], "✓ reproduced4 of 4 criteria hold");
    assert_eq!(rows[1][2], "1.31 [1.12, 1.5]steps: ln(plain / bn)");
    assert_eq!(rows[1][3..], ["14 times fewer", "3.7 times fewer", "10"]);
    // Contradicted by its second criterion: that is the one to show.
    assert!(rows[4][1].starts_with("✗ contradicted"));
    assert!(rows[4][2].starts_with("2.5e-6"));
    assert_eq!(rows[5][1..], ["– not testable", "–", "–", "–", "–"]);
}

#[test]
fn tables_and_figures_speak_for_themselves() {
    let page = html(&fixture::report()).unwrap();
    let document = parse(&page);
    assert!(all(&document, "th").all(|cell| cell.attribute("scope").is_some()));
    for landmark in ["header", "main", "footer"] {
        assert_eq!(all(&document, landmark).count(), 1, "{landmark}");
    }
    let mut figures = 0;
    for image in all(&document, "svg") {
        assert_eq!(image.attribute("role"), Some("img"));
        let names: Vec<&str> = image
            .children()
            .filter(Node::is_element)
            .take(2)
            .map(|node| node.tag_name().name())
            .collect();
        assert_eq!(names, ["title", "desc"]);
        figures += 1;
    }
    assert_eq!(figures, markdown(&fixture::report()).unwrap().figures.len());
    assert_eq!(all(&document, "figure").count(), all(&document, "figcaption").count());
}

#[test]
fn markdown_refers_to_every_figure_once() {
    let markdown = markdown(&fixture::report()).unwrap();
    for figure in &markdown.figures {
        assert_eq!(
            markdown.text.matches(&format!("]({})", figure.name)).count(),
            1,
            "{}",
            figure.name
        );
        let image = Document::parse(&figure.svg).unwrap();
        let style = all(&image, "style").next().and_then(|style| style.text()).unwrap();
        assert!(style.contains("prefers-color-scheme:dark"));
    }
    let names: BTreeSet<&str> =
        markdown.figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(names.len(), markdown.figures.len());
    assert!(names.contains("bn-converges-faster.percentiles.2.svg"));
}

#[test]
fn every_value_is_in_the_csv() {
    let report = fixture::report();
    let text = csv(&report).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let measures = report.claims.iter().flat_map(|claim| &claim.arms).flat_map(|arm| &arm.measures);
    assert_eq!(rows.len(), measures.map(|measure| measure.values.len()).sum::<usize>());
    assert_eq!(
        rows[0],
        ["bn-converges-faster", "quick", "plain", "1000", "steps", "1795", "true"][..]
    );
    assert_eq!(rows[11][5].parse(), Ok(report.claims[0].arms[0].measures[1].values[1].value));
}

#[test]
fn an_empty_report_is_one_too() {
    let report = Report { claims: vec![], ..fixture::report() };
    assert!(html(&report).unwrap().contains("There are no claims in this report."));
    let markdown = markdown(&report).unwrap();
    assert!(
        markdown.text.contains("There are no claims in this report.")
            && markdown.figures.is_empty()
    );
    assert_eq!(csv(&report).unwrap().lines().count(), 1);
    assert!(latex(&report).unwrap().contains(r"\bottomrule"));
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let report = fixture::report();
    assert_eq!(html(&report).unwrap(), html(&report.clone()).unwrap());
    assert_eq!(markdown(&report).unwrap(), markdown(&report.clone()).unwrap());
}
