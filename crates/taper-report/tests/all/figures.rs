//! Figures of data that no one would plot on purpose.

use proptest::prelude::*;
use roxmltree::{Document, Node};
use taper_report::{Axis, Figure, Mark, Panel, Place, Report, Scale, markdown};

use crate::fixture;

/// Draws a panel of `marks` and checks that all of it lies in the image.
fn draw(x: Scale, y: Scale, marks: Vec<Mark>) -> String {
    let axis = |scale| Axis { label: "axis".into(), scale };
    let panel = Panel { title: String::new(), x: axis(x), y: axis(y), marks };
    let figure = Figure {
        id: "edge".into(),
        title: "Edge".into(),
        caption: "Odd data.".into(),
        panels: vec![panel],
    };
    let mut claim = fixture::report().claims.remove(4);
    claim.figures = vec![figure];
    let report = Report { claims: vec![claim], ..fixture::report() };
    let svg = markdown(&report).unwrap().figures.remove(0).svg;
    check(&svg);
    svg
}

fn check(svg: &str) {
    let document = Document::parse(svg).unwrap();
    let root = document.root_element();
    let size: Vec<f64> = numbers(root.attribute("viewBox").unwrap()).collect();
    for node in root.descendants().filter(Node::is_element) {
        let horizontal = ["x", "x1", "x2", "cx"].map(|name| node.attribute(name));
        let vertical = ["y", "y1", "y2", "cy"].map(|name| node.attribute(name));
        let points: Vec<f64> =
            node.attribute("points").map(numbers).into_iter().flatten().collect();
        let xs = horizontal
            .into_iter()
            .flatten()
            .flat_map(numbers)
            .chain(points.iter().copied().step_by(2));
        let ys = vertical.into_iter().flatten().flat_map(numbers);
        let ys = ys.chain(points.iter().copied().skip(1).step_by(2));
        xs.for_each(|x| assert!((0.0..=size[2]).contains(&x), "{node:?}"));
        ys.for_each(|y| assert!((0.0..=size[3]).contains(&y), "{node:?}"));
    }
}

fn numbers(text: &str) -> impl Iterator<Item = f64> + '_ {
    let parts = text.split([' ', ',']).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap())
}

fn line(points: &[(f64, f64)]) -> Vec<Mark> {
    vec![Mark::Line { label: "a".into(), points: points.to_vec() }]
}

#[test]
fn nothing_gives_empty_axes() {
    let svg = draw(Scale::Linear, Scale::Log, vec![]);
    assert!(svg.contains(">\n0.4\n<"), "{svg}");
    draw(Scale::Linear, Scale::Linear, line(&[]));
    draw(Scale::Categories(vec![]), Scale::Categories(vec![]), line(&[]));
}

#[test]
fn what_is_not_finite_is_a_gap() {
    let points = [
        (0.0, 1.0),
        (1.0, 2.0),
        (2.0, f64::NAN),
        (3.0, 3.0),
        (4.0, f64::INFINITY),
        (5.0, 1.0),
        (6.0, 2.0),
    ];
    let svg = draw(Scale::Linear, Scale::Linear, line(&points));
    // Two pieces and the legend's sample; the value alone between two gaps is a dot.
    assert_eq!(
        svg.matches("<polyline class=\"").count()
            + svg.matches(" class=\"stroke-series-0\"").count(),
        3
    );
    assert_eq!(svg.matches("<circle").count(), 1);
    let band = |points: &[(f64, f64)]| Mark::Band {
        label: "b".into(),
        points: points.iter().map(|(x, y)| (*x, *y, y + 1.0)).collect(),
    };
    let svg = draw(Scale::Linear, Scale::Linear, vec![band(&points)]);
    assert_eq!(svg.matches("<polygon").count(), 2);
}

#[test]
fn no_logarithm_is_a_gap() {
    let svg = draw(
        Scale::Linear,
        Scale::Log,
        line(&[(0.0, -1.0), (1.0, 0.0), (2.0, 10.0), (3.0, 1000.0)]),
    );
    assert!(svg.contains(">\n100\n<") && !svg.contains("NaN"));
    draw(Scale::Log, Scale::Log, line(&[(-1.0, -1.0), (0.0, 0.0)]));
}

#[test]
fn single_and_constant_values_have_room() {
    for value in [0.0, 1.0, -3.5e-9, 1e15 + 0.1, f64::MIN_POSITIVE, f64::MAX] {
        draw(Scale::Linear, Scale::Linear, line(&[(value, value)]));
        draw(Scale::Log, Scale::Log, line(&[(value, value), (value, value)]));
    }
}

#[test]
fn ticks_are_free_of_noise() {
    let svg = draw(Scale::Linear, Scale::Linear, line(&[(0.1 + 0.2, -0.3), (0.7, 0.3)]));
    let document = Document::parse(&svg).unwrap();
    let labels = document.descendants().filter(|node| node.tag_name().name() == "text");
    let longest = labels.filter_map(|label| label.text()).map(|label| label.trim().len()).max();
    assert_eq!(longest, Some("-0.3".len()));
}

#[test]
fn series_differ_in_more_than_colour() {
    let marks =
        ["a", "b", "c"].map(|label| Mark::Points { label: label.into(), points: vec![(0.0, 0.0)] });
    let svg = draw(Scale::Linear, Scale::Linear, marks.to_vec());
    let corners = |series: usize| {
        let class = format!("fill-series-{series}\"");
        let shape =
            svg.lines().find(|line| line.starts_with("<polygon") && line.contains(&class)).unwrap();
        shape.matches(',').count()
    };
    assert_eq!([corners(0), corners(1), corners(2)], [16, 4, 3]);
    for dashes in ["70 35", "20 30"] {
        assert!(svg.contains(&format!("stroke-dasharray:{dashes}")));
    }
}

#[test]
fn panels_with_the_same_axis_share_its_range() {
    let axis = |label: &str| Axis { label: label.into(), scale: Scale::Linear };
    let panel = |x: &str, top: f64| Panel {
        title: String::new(),
        x: axis(x),
        y: axis("error"),
        marks: line(&[(0.0, 0.0), (1000.0 * top, top)]),
    };
    let mut claim = fixture::report().claims.remove(4);
    claim.figures = vec![Figure {
        id: "shared".into(),
        title: "Shared".into(),
        caption: "Two panels.".into(),
        panels: vec![panel("step", 1.0), panel("second", 4.0)],
    }];
    let report = Report { claims: vec![claim], ..fixture::report() };
    let figures = markdown(&report).unwrap().figures;
    let has = |panel: usize, label: &str| figures[panel].svg.contains(&format!(">\n{label}\n<"));
    assert!(has(0, "4") && has(1, "4"), "the vertical axis is the same");
    assert!(!has(0, "4000") && has(1, "4000"), "the horizontal one is not");
}

#[test]
fn many_names_fit() {
    let marks = (0..30).map(|index| Mark::Line {
        label: format!("series {index}"),
        points: vec![(0.0, 0.0), (1.0, 0.1)],
    });
    draw(Scale::Linear, Scale::Linear, marks.collect());
    let names: Vec<String> =
        (0..40).map(|index| format!("an arm with a rather long name {index}")).collect();
    draw(Scale::Linear, Scale::Categories(names.clone()), vec![]);
    draw(Scale::Categories(names), Scale::Linear, vec![]);
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -10.0..10.0,
        Just(0.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX)
    ]
}

fn any_scale() -> impl Strategy<Value = Scale> {
    prop_oneof![
        Just(Scale::Linear),
        Just(Scale::Log),
        Just(Scale::Categories(vec!["a".into(), "b".into()])),
    ]
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let label = || "[a-c]{0,1}";
    let pairs = || proptest::collection::vec((any_float(), any_float()), 0..6);
    let triples = proptest::collection::vec((any_float(), any_float(), any_float()), 0..6);
    prop_oneof![
        (label(), pairs()).prop_map(|(label, points)| Mark::Line { label, points }),
        (label(), pairs()).prop_map(|(label, points)| Mark::Points { label, points }),
        (label(), triples).prop_map(|(label, points)| Mark::Band { label, points }),
        (label(), any_float(), any_float(), any_float(), any_float())
            .prop_map(|(label, y, low, mid, high)| Mark::Interval { label, y, low, mid, high }),
        (label(), any_float()).prop_map(|(label, at)| Mark::Rule { label, at: Place::X(at) }),
        (label(), any_float()).prop_map(|(label, at)| Mark::Rule { label, at: Place::Y(at) }),
        (label(), proptest::option::of(any_float()), proptest::option::of(any_float()))
            .prop_map(|(label, low, high)| Mark::Stripe { label, low, high }),
    ]
}

proptest! {
    #[test]
    fn any_numbers_draw(x in any_scale(), y in any_scale(), marks in proptest::collection::vec(any_mark(), 0..5)) {
        draw(x, y, marks);
    }

    #[test]
    fn a_number_reads_back_to_four_digits(value in any::<f64>()) {
        let text = taper_report::number(value);
        prop_assert!(text.len() <= 11, "{text}");
        if value.is_finite() {
            let back: f64 = text.parse().unwrap();
            prop_assert!((back - value).abs() <= 0.0005 * value.abs() + f64::MIN_POSITIVE, "{value:e}: {text}");
        }
    }
}
