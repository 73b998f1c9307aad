//! Markup in a text field stays text, in every format.

use taper_report::{
    Arm, Axis, Badge, Criterion, DataSet, Figure, Made, Mark, Panel, Report, Scale, Tone, Tuning,
    csv, html, latex, markdown,
};

use crate::fixture;
use crate::formats::parse;

const HOSTILE: &str =
    "</style><script>alert(\"1\")</script>'&amp;{{ 7 * 7 }} | `x` \\input{y} $z$ %\n## [a](b) <!--";

/// A report with `text` in every field that is text for people.
fn with_text_everywhere(text: &str) -> Report {
    let string = || text.to_owned();
    let badge = || Badge { label: string(), tone: Tone::Good };
    let pairs = || vec![(string(), string())];
    let mut report = fixture::report();
    report.title = string();
    report.summary = string();
    report.made = Made {
        version: string(),
        code: string(),
        command: string(),
        generated_at: string(),
        seconds: 1.0,
        machine: pairs(),
        data: vec![DataSet {
            name: string(),
            digest: string(),
            licence: string(),
            citation: string(),
        }],
    };
    let claim = &mut report.claims[0];
    claim.question = string();
    claim.claim = string();
    claim.source = string();
    claim.scale = string();
    claim.verdict = badge();
    claim.notes = vec![string()];
    for criterion in &mut claim.criteria {
        let mut effect = criterion.effect.clone().unwrap();
        effect.quantity = string();
        *criterion = Criterion {
            name: string(),
            kind: string(),
            verdict: badge(),
            effect: Some(effect),
            paper: Some(string()),
            ours: string(),
            notes: vec![string()],
            ..criterion.clone()
        };
    }
    for arm in &mut claim.arms {
        let mut measures = arm.measures.clone();
        measures[0].name = string();
        *arm = Arm { name: string(), title: string(), settings: pairs(), measures };
    }
    claim.tuning = Some(Tuning {
        metric: string(),
        grid: vec![(string(), vec![string()])],
        trials: 1,
        seeds: vec![1],
        winners: pairs(),
    });
    for run in &mut claim.runs {
        run.arm = string();
        run.digest = string();
        run.href = "a\"><script>b".into();
    }
    claim.url = Some("https://example.org/\"><script>".into());
    claim.figures = vec![figure(text)];
    report
}

fn figure(text: &str) -> Figure {
    let string = || text.to_owned();
    let scale = Scale::Categories(vec![string()]);
    let points = vec![(0.0, 0.0)];
    Figure {
        id: "hostile".into(),
        title: string(),
        caption: string(),
        panels: vec![Panel {
            title: string(),
            x: Axis { label: string(), scale: scale.clone() },
            y: Axis { label: string(), scale },
            marks: vec![
                Mark::Points { label: string(), points },
                Mark::Rule { label: string(), at: taper_report::Place::X(0.0) },
                Mark::Rule { label: string(), at: taper_report::Place::Y(0.0) },
                Mark::Stripe { label: string(), low: None, high: None },
            ],
        }],
    }
}

#[test]
fn html_shows_it() {
    let page = html(&with_text_everywhere(HOSTILE)).unwrap();
    let document = parse(&page);
    assert!(document.descendants().all(|node| node.tag_name().name() != "script"));
    let shown = |tag| {
        let mut nodes = document.descendants().filter(move |node| node.tag_name().name() == tag);
        nodes.any(|node| node.text() == Some(HOSTILE))
    };
    for tag in ["title", "h1", "h2", "blockquote", "li", "td", "dd", "th", "figcaption", "p"] {
        assert!(shown(tag), "{tag}");
    }
    let attributes = || document.descendants().flat_map(|node| node.attributes());
    assert!(attributes().all(|attribute| !attribute.name().starts_with("on")));
    assert!(attributes().any(|attribute| attribute.value() == "a\"><script>b"));
}

#[test]
fn images_show_it() {
    for image in markdown(&with_text_everywhere(HOSTILE)).unwrap().figures {
        let image = roxmltree::Document::parse(&image.svg).unwrap();
        assert!(image.descendants().all(|node| node.tag_name().name() != "script"));
    }
    // No control character may get into XML.
    let every: String = (0..0x300).chain([0xfffe, 0xffff]).filter_map(char::from_u32).collect();
    for image in markdown(&with_text_everywhere(&every)).unwrap().figures {
        roxmltree::Document::parse(&image.svg).unwrap();
    }
}

#[test]
fn markdown_shows_it() {
    let plain = markdown(&with_text_everywhere("plain")).unwrap().text;
    let text = markdown(&with_text_everywhere(HOSTILE)).unwrap().text;
    for markup in ["<script", "</style", "<!--", "&amp;{", " `x`", "[a](b)", "](a\"><", "\n##  "] {
        assert!(!text.contains(markup), "{markup}");
    }
    assert_eq!(text.lines().count(), plain.lines().count());
    let cells = |text: &str| {
        text.replace("\\|", "").lines().map(|row| row.matches('|').count()).collect::<Vec<_>>()
    };
    assert_eq!(cells(&text), cells(&plain));
}

#[test]
fn latex_shows_it() {
    let plain = latex(&with_text_everywhere("plain")).unwrap();
    let text = latex(&with_text_everywhere(HOSTILE)).unwrap();
    assert!(!text.contains(r"\input") && !text.contains(" $z") && !text.contains(" %"));
    assert_eq!(text.lines().count(), plain.lines().count());
    let open = |text: &str| text.replace("\\{", "").matches('{').count();
    let close = |text: &str| text.replace("\\}", "").matches('}').count();
    assert_eq!(open(&text), close(&text));
}

#[test]
fn csv_gives_it_back() {
    let text = csv(&with_text_everywhere(HOSTILE)).unwrap();
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let row = reader.records().next().unwrap().unwrap();
    assert_eq!([&row[1], &row[2], &row[4]], [HOSTILE; 3]);
}
