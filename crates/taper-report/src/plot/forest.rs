//! The forest plot of a claim's criteria.

use crate::{Axis, Criterion, Effect, Figure, Mark, Panel, Place, Scale};

/// Every criterion's effect against the range that the claim names: one panel for effects of the
/// same quantity and range. None where nothing was measured.
pub(crate) fn forest(criteria: &[Criterion]) -> Option<Figure> {
    let mut groups: Vec<Vec<(&str, &Effect)>> = Vec::new();
    for criterion in criteria {
        let Some(effect) = &criterion.effect else { continue };
        let row = (criterion.name.as_str(), effect);
        match groups.iter_mut().find(|group| share_axis(group[0].1, effect)) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    (!groups.is_empty()).then(|| Figure {
        id: "criteria".to_owned(),
        title: "The criteria at a glance".to_owned(),
        caption:
            "Points are estimates and lines their intervals. A criterion holds where the whole \
                  interval lies in the shaded range, which is the one that the claim names."
                .to_owned(),
        panels: groups.iter().map(|group| panel(group)).collect(),
    })
}

fn share_axis(a: &Effect, b: &Effect) -> bool {
    (&a.quantity, a.claimed, a.no_effect) == (&b.quantity, b.claimed, b.no_effect)
}

fn panel(rows: &[(&str, &Effect)]) -> Panel {
    let shared = rows[0].1;
    let mut marks = vec![Mark::Stripe {
        label: "claimed".to_owned(),
        low: shared.claimed.low,
        high: shared.claimed.high,
    }];
    marks.extend(
        shared.no_effect.map(|at| Mark::Rule { label: "no effect".to_owned(), at: Place::X(at) }),
    );
    for (y, (_, effect)) in (0..).map(f64::from).zip(rows) {
        let (low, high) = match effect.interval {
            Some(interval) => (interval.low, interval.high),
            None => (effect.estimate, effect.estimate),
        };
        marks.push(Mark::Interval { label: String::new(), y, low, mid: effect.estimate, high });
    }
    let names = rows.iter().map(|(name, _)| (*name).to_owned()).collect();
    let axis = |label: &str, scale| Axis { label: label.to_owned(), scale };
    Panel {
        title: String::new(),
        x: axis(&shared.quantity, Scale::Linear),
        y: axis("", Scale::Categories(names)),
        marks,
    }
}
