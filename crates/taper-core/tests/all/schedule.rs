//! Schedules against PyTorch's, and their written form.

use proptest::prelude::*;
use taper_core::testing::goldens;
use taper_core::{Result, Schedule};

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
}
