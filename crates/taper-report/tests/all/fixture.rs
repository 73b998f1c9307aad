//! A report with a bit of everything.

use taper_report::{
    Arm, Axis, Badge, Claim, Criterion, DataSet, Effect, Figure, Interval, Made, Mark, Measure,
    Panel, Place, Range, Report, Run, Scale, SeedValue, SignFlip, Tone, Tuning,
};

pub(crate) fn report() -> Report {
    Report {
        title: "Which claims held".into(),
        summary:
            "Five claims about deep learning, put to the test on small data with ten seeds each."
                .into(),
        claims: vec![converges(), deeper(), comparable(), identities(), untested()],
        made: Made {
            version: "taper 0.1.0".into(),
            code: "9c41d7e2b8a0".into(),
            command: "cargo xtask reproduce --scale quick".into(),
            generated_at: "2026-01-31 12:00 UTC".into(),
            seconds: 87.4,
            machine: pairs(&[("Processor", "2 cores, AVX2"), ("System", "Linux x86_64")]),
            data: vec![DataSet {
                name: "digits".into(),
                digest: "6e1f0d3a5b7c9e2f4a6b8c0d".into(),
                licence: "CC BY 4.0".into(),
                citation: "Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits"
                    .into(),
            }],
        },
    }
}

fn converges() -> Claim {
    let steps = effect("steps: ln(plain / bn)", 1.31, (1.12, 1.5), above(std::f64::consts::LN_2));
    let drift = effect("drift: plain - bn", 0.42, (0.05, 0.79), above(0.0));
    let last = effect("final accuracy: bn - plain", 0.011, (0.004, 0.018), above(0.0));
    let half = effect("final accuracy: bn - plain", 0.008, (0.001, 0.015), above(0.0));
    Claim {
        id: "bn-converges-faster".into(),
        question: "Does batch normalization make a sigmoid network converge faster?".into(),
        claim: "Batch normalization reaches the same accuracy in far fewer steps.".into(),
        source: "Ioffe & Szegedy 2015".into(),
        url: Some("https://arxiv.org/abs/1502.03167".into()),
        verdict: badge(Tone::Good),
        notes: vec!["In 3 of 20 runs the target was not reached: they count as the budget.".into()],
        criteria: vec![
            Criterion {
                paper: Some("14 times fewer".into()),
                ours: "3.7 times fewer".into(),
                ..criterion("steps to 90%", "log-ratio", Tone::Good, steps)
            },
            criterion("drift of the median input", "difference", Tone::Good, drift),
            criterion("gap at the end", "difference", Tone::Good, last),
            Criterion {
                notes: vec!["One seed of the plain arm stayed at chance.".into()],
                ..criterion("gap at half the budget", "difference", Tone::Good, half)
            },
        ],
        arms: vec![
            arm("plain", "Plain", "false", 1840.0, 3),
            arm("bn", "With batch normalization", "true", 497.0, 0),
        ],
        tuning: Some(Tuning {
            metric: "validation accuracy, higher is better".into(),
            grid: vec![("rate".into(), vec!["0.01".into(), "0.1".into(), "1.0".into()])],
            trials: 3,
            seeds: vec![1, 2],
            winners: pairs(&[("plain", "rate = 0.1"), ("bn", "rate = 1.0")]),
        }),
        figures: vec![curves(), percentiles()],
        runs: runs(),
        ..claim()
    }
}

fn deeper() -> Claim {
    let gap = effect("accuracy (points): residual - plain", 12.4, (6.1, 18.7), above(20.0));
    Claim {
        id: "residual-makes-depth-trainable".into(),
        question: "Do residual connections make deep networks trainable?".into(),
        claim: "At depth 24 a residual network trains where a plain one does not.".into(),
        source: "He et al. 2015".into(),
        verdict: badge(Tone::Partial),
        criteria: vec![criterion("gap at depth 24", "difference", Tone::Partial, gap)],
        ..claim()
    }
}

fn comparable() -> Claim {
    let gap = Effect {
        interval: Some(Interval { low: -0.4, high: 1.3, level: 0.9 }),
        ..effect(
            "accuracy (points): ce - mse",
            0.45,
            (0.0, 0.0),
            Range { low: Some(-1.0), high: Some(1.0) },
        )
    };
    let figure = Figure {
        id: "by-size".into(),
        title: "Error against training set size".into(),
        caption: "Means over ten seeds; both axes are logarithmic.".into(),
        panels: vec![Panel {
            title: String::new(),
            x: axis("training images", Scale::Log),
            y: axis("test error", Scale::Log),
            marks: vec![
                Mark::Points {
                    label: "cross-entropy".into(),
                    points: vec![(50.0, 0.3), (200.0, 0.1), (1400.0, 0.02)],
                },
                Mark::Points {
                    label: "mean squared error".into(),
                    points: vec![(50.0, 0.35), (200.0, 0.11), (1400.0, 0.021)],
                },
                Mark::Rule { label: "chance".into(), at: Place::Y(0.9) },
            ],
        }],
    };
    Claim {
        id: "mse-can-classify".into(),
        question: "Is mean squared error as good as cross-entropy for classification?".into(),
        claim:
            "Trained with mean squared error, classifiers are as accurate as with cross-entropy."
                .into(),
        source: "Hui & Belkin 2020".into(),
        verdict: badge(Tone::Open),
        criteria: vec![Criterion {
            seeds_needed: Some(34),
            ..criterion("same accuracy", "equivalence", Tone::Open, gap)
        }],
        figures: vec![figure],
        ..claim()
    }
}

fn identities() -> Claim {
    let within = |estimate, bound: f64| Effect {
        interval: None,
        no_effect: None,
        ..effect(
            "largest difference",
            estimate,
            (0.0, 0.0),
            Range { low: Some(-bound), high: Some(bound) },
        )
    };
    Claim {
        id: "losses-are-what-they-say".into(),
        question: "Do the losses obey their identities?".into(),
        claim: "Cross-entropy is entropy plus divergence, and its gradient is p - y.".into(),
        source: "Goodfellow, Bengio & Courville 2016".into(),
        verdict: badge(Tone::Bad),
        criteria: vec![
            criterion("CE = H + KL", "identity", Tone::Good, within(3.1e-8, 1e-6)),
            criterion("gradient is p - y", "identity", Tone::Bad, within(2.5e-6, 1e-6)),
        ],
        ..claim()
    }
}

fn untested() -> Claim {
    Claim {
        id: "vae-elbo".into(),
        question: "Does a larger beta trade reconstruction for divergence?".into(),
        claim: "With beta = 4 the divergence falls and the reconstruction error rises.".into(),
        source: "Higgins et al. 2017".into(),
        verdict: badge(Tone::Untested),
        notes: vec!["Not testable at quick scale: it needs MNIST.".into()],
        ..claim()
    }
}

fn claim() -> Claim {
    Claim {
        id: String::new(),
        question: String::new(),
        claim: String::new(),
        source: String::new(),
        url: None,
        scale: "quick".into(),
        verdict: badge(Tone::Open),
        notes: vec![],
        criteria: vec![],
        arms: vec![],
        tuning: None,
        figures: vec![],
        runs: vec![],
    }
}

fn badge(tone: Tone) -> Badge {
    let label = match tone {
        Tone::Good => "reproduced",
        Tone::Partial => "weaker than claimed",
        Tone::Bad => "contradicted",
        Tone::Open => "inconclusive",
        Tone::Untested => "not testable",
    };
    Badge { label: label.into(), tone }
}

fn criterion(name: &str, kind: &str, tone: Tone, effect: Effect) -> Criterion {
    let interval = effect.interval;
    Criterion {
        name: name.into(),
        kind: kind.into(),
        verdict: badge(tone),
        ours: taper_report::number(effect.estimate),
        effect: Some(effect),
        paper: None,
        seeds: 10,
        p: interval.map(|_| 0.000_731),
        p_holm: interval.map(|_| 0.002_193),
        sign_flip: interval.map(|_| SignFlip { p: 0.003_906, least: 0.001_953 }),
        bca: interval.map(|interval| Interval { low: interval.low + 0.001, ..interval }),
        seeds_needed: None,
        notes: vec![],
    }
}

fn effect(quantity: &str, estimate: f64, (low, high): (f64, f64), claimed: Range) -> Effect {
    Effect {
        quantity: quantity.into(),
        estimate,
        interval: Some(Interval { low, high, level: 0.95 }),
        claimed,
        no_effect: Some(0.0),
    }
}

fn above(low: f64) -> Range {
    Range { low: Some(low), high: None }
}

fn arm(name: &str, title: &str, normalized: &str, steps: f64, censored: usize) -> Arm {
    let value = |(index, seed)| SeedValue {
        seed,
        value: steps + 10.0 * (index as f64 - 4.5),
        censored: index < censored,
    };
    let accuracy =
        |seed: u64| SeedValue { seed, value: 0.9 + 0.001 * (seed - 1000) as f64, censored: false };
    Arm {
        name: name.into(),
        title: title.into(),
        settings: pairs(&[
            ("widths", "[100, 100, 100]"),
            ("batch", "60"),
            ("normalized", normalized),
        ]),
        measures: vec![
            Measure {
                name: "steps".into(),
                mean: steps,
                sd: 30.2765,
                values: (1000..1010).enumerate().map(value).collect(),
            },
            Measure {
                name: "accuracy".into(),
                mean: 0.9045,
                sd: 0.003_03,
                values: (1000..1010).map(accuracy).collect(),
            },
        ],
    }
}

fn curves() -> Figure {
    let curve = |rate: f64| {
        move |step: u32| (f64::from(step), 0.98 - 0.88 * (-rate * f64::from(step)).exp())
    };
    let steps = || (0..=100).map(|step| step * 40);
    let band = |rate: f64| {
        steps().map(curve(rate)).map(|(x, y)| (x, y - 0.03, (y + 0.02).min(1.0))).collect()
    };
    let marks = [("Plain", 0.0006), ("With batch normalization", 0.004)].into_iter().flat_map(
        |(label, rate)| {
            [
                Mark::Band { label: label.into(), points: band(rate) },
                Mark::Line { label: label.into(), points: steps().map(curve(rate)).collect() },
            ]
        },
    );
    let target = Mark::Rule { label: "target".into(), at: Place::Y(0.9) };
    Figure {
        id: "curves".into(),
        title: "Accuracy while training".into(),
        caption: "Median over ten seeds with the range of all.".into(),
        panels: vec![Panel {
            title: String::new(),
            x: axis("step", Scale::Linear),
            y: axis("test accuracy", Scale::Linear),
            marks: marks.chain([target]).collect(),
        }],
    }
}

fn percentiles() -> Figure {
    let panel = |title: &str, drift: f64| Panel {
        title: title.into(),
        x: axis("step", Scale::Linear),
        y: axis("input of the last hidden unit", Scale::Linear),
        marks: [("85%", 1.0), ("50%", 0.0), ("15%", -1.0)]
            .into_iter()
            .map(|(label, shift)| Mark::Line {
                label: label.into(),
                points: (0..=60)
                    .map(|step| 50.0 * f64::from(step))
                    .map(|step| {
                        (step, shift + drift * (step / 400.0).sin() * (-step / 3000.0).exp())
                    })
                    .collect(),
            })
            .collect(),
    };
    Figure {
        id: "percentiles".into(),
        title: "A hidden input over time".into(),
        caption:
            "The 15th, 50th and 85th percentile over a test batch, as in figure 1 of the paper."
                .into(),
        panels: vec![panel("Plain", 1.5), panel("With batch normalization", 0.1)],
    }
}

fn axis(label: &str, scale: Scale) -> Axis {
    Axis { label: label.into(), scale }
}

fn runs() -> Vec<Run> {
    let run = |arm: &'static str| {
        move |seed: u64| Run {
            arm: arm.into(),
            seed,
            href: format!("../runs/{arm}-{seed}/"),
            digest: format!("{:x}", seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        }
    };
    (1000..1010).map(run("plain")).chain((1000..1010).map(run("bn"))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}
