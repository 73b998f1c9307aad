//! Schedules against PyTorch's, and their written form.

use proptest::prelude::*;
use taper_core::testing::goldens;
use taper_core::{Anneal, OneCycle, OneCycleConfig, Result, Schedule};

#[test]
fn agrees_with_pytorch() -> Result<()> {
    for case in goldens(include_str!("../golden/schedule.json"))? {
        let schedule: Schedule = serde_json::from_str(case.text("schedule")?).unwrap();
        for (step, expected) in case.f64s("factors")?.into_iter().enumerate() {
            let factor = schedule.factor(step as u64);
            assert!((factor - expected).abs() < 1e-12, "{schedule:?} {step}: {factor} {expected}");
        }
    }
    Ok(())
}

#[test]
fn the_written_form_is_checked() {
    let parse = |text: &str| serde_json::from_str::<Schedule>(text);
    assert_eq!(parse(r#""constant""#).unwrap(), Schedule::Constant);
    assert!(parse(r#""cosine""#).is_err());
    assert!(parse(r#"{"step": {"every": 0, "gamma": 0.1}}"#).is_err());
    assert!(parse(r#"{"step": {"every": 2, "gama": 0.1}}"#).is_err());
    let text = r#"{"warmup":{"steps":3,"start_factor":0.5,"then":"constant"}}"#;
    assert_eq!(serde_json::to_string(&parse(text).unwrap()).unwrap(), text);
}

#[test]
fn the_written_form_of_a_cycle_is_checked() {
    let text = |pct_start: &str, rest: &str| {
        format!(
            r#"{{"one_cycle":{{"steps":8,"pct_start":{pct_start},"anneal":"linear",{rest}"final_div_factor":100.0,"three_phase":true}}}}"#
        )
    };
    let parse = |text: &str| serde_json::from_str::<Schedule>(text);
    let good = text("0.25", r#""div_factor":10.0,"#);
    let schedule = parse(&good).unwrap();
    let Schedule::OneCycle(cycle) = &schedule else { panic!("{schedule:?}") };
    assert_eq!((cycle.config().steps.get(), cycle.config().anneal), (8, Anneal::Linear));
    assert_eq!(serde_json::to_string(&schedule).unwrap(), good);

    let error = parse(&text("0.75", r#""div_factor":10.0,"#)).unwrap_err().to_string();
    assert!(error.contains("OneCycle::new: pct_start should be in [0, 0.5]"), "{error}");
    let error = parse(&text("0.25", "")).unwrap_err().to_string();
    assert!(error.contains("missing field `div_factor`"), "{error}");
    let error = parse(&text("0.25", r#""div_factor":10.0,"up":1,"#)).unwrap_err().to_string();
    assert!(error.contains("unknown field `up`"), "{error}");
}

#[test]
fn a_cycle_names_the_setting_that_it_refuses() {
    let config = OneCycleConfig::new(8.try_into().unwrap());
    assert!(OneCycle::new(config).is_ok());
    let refused = |config| OneCycle::new(config).unwrap_err().to_string();
    for pct_start in [-0.1, 1.1, f64::NAN] {
        assert_eq!(
            refused(OneCycleConfig { pct_start, ..config }),
            format!("OneCycle::new: pct_start should be in [0, 1], got {pct_start}")
        );
    }
    let three = OneCycleConfig { three_phase: true, pct_start: 0.5, ..config };
    assert!(OneCycle::new(three).is_ok());
    let error = refused(OneCycleConfig { pct_start: 0.6, ..three });
    assert!(error.starts_with("OneCycle::new: pct_start should be in [0, 0.5]"), "{error}");
    assert!(error.ends_with("got 0.6"), "{error}");
    for factor in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let end = format!("_factor should be finite and above 0, got {factor}");
        let error = refused(OneCycleConfig { div_factor: factor, ..config });
        assert_eq!(error, format!("OneCycle::new: div{end}"));
        let error = refused(OneCycleConfig { final_div_factor: factor, ..config });
        assert_eq!(error, format!("OneCycle::new: final_div{end}"));
    }
}

#[test]
fn an_empty_warmup_is_none() {
    let then = Box::new(Schedule::Constant);
    let schedule = Schedule::Warmup { steps: 0, start_factor: 0.0, then };
    assert_eq!(schedule.factor(0), 1.0);
}

proptest! {
    #[test]
    fn a_cosine_falls_from_one_to_its_end(steps in 1u64.., min_factor in 0.0..1.0, at: u64) {
        let steps = steps.try_into().unwrap();
        let schedule = Schedule::Cosine { steps, min_factor };
        prop_assert_eq!(schedule.factor(0), 1.0);
        prop_assert!((schedule.factor(u64::MAX) - min_factor).abs() < 1e-15);
        let (now, next) = (schedule.factor(at), schedule.factor(at.saturating_add(1)));
        prop_assert!(next <= now && (min_factor..=1.0).contains(&now));
    }
    #[test]
    fn a_cycle_rises_falls_and_stays(
        steps in 1u64..200,
        share in 0.0..=1.0,
        linear: bool,
        div_factor in 1.0..100.0,
        final_div_factor in 1.0..1e5,
        three_phase: bool,
        late: u64,
    ) {
        let pct_start = if three_phase { share / 2.0 } else { share };
        let anneal = if linear { Anneal::Linear } else { Anneal::Cosine };
        let steps_set = steps.try_into().unwrap();
        let config = OneCycleConfig {
            steps: steps_set, pct_start, anneal, div_factor, final_div_factor, three_phase,
        };
        let schedule = Schedule::OneCycle(OneCycle::new(config).unwrap());
        let factors: Vec<f64> = (0..steps).map(|step| schedule.factor(step)).collect();
        let last = 1.0 / div_factor / final_div_factor;
        prop_assert!(factors.iter().all(|f| (last - 1e-15..=1.0 + 1e-15).contains(f)));
        let peak = pct_start * steps as f64 - 1.0;
        for (step, pair) in factors.windows(2).enumerate() {
            if (step + 1) as f64 <= peak {
                prop_assert!(pair[1] >= pair[0], "{step} {pair:?}");
            } else if step as f64 >= peak {
                prop_assert!(pair[1] <= pair[0] + 1e-15, "{step} {pair:?}");
            }
        }
        // Where it rises first, it begins at its first rate; where it falls at last, it ends at the last.
        if peak > 0.0 {
            prop_assert!((factors[0] - 1.0 / div_factor).abs() < 1e-15);
        }
        let end = factors[steps as usize - 1];
        if peak < (steps - 1) as f64 {
            prop_assert!((end - last).abs() < 1e-15, "{end} {last}");
        }
        prop_assert_eq!(schedule.factor(steps.saturating_add(late)), end);
    }
}
