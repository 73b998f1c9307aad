use taper_core::{Result, stream};
use taper_data::{LabelNoise, noisy_labels};

fn labels() -> Vec<u32> {
    (0..60_000).map(|at| at % 5).collect()
}

fn noisy(noise: &LabelNoise) -> Result<Vec<u32>> {
    noisy_labels(&labels(), 5, noise, &mut stream(3, "noise"))
}

/// How often class `from` became class `to`, of all of `from`.
fn rate(noisy: &[u32], from: u32, to: u32) -> f64 {
    let labels = labels();
    let of: Vec<_> = labels.iter().zip(noisy).filter(|(label, _)| **label == from).collect();
    of.iter().filter(|(_, noisy)| **noisy == to).count() as f64 / of.len() as f64
}

#[test]
fn classes_are_exchanged_at_the_rates_asked_for() -> Result<()> {
    let matrix: Vec<Vec<f64>> = (0..5)
        .map(|from| {
            (0..5)
                .map(|to| {
                    if from == to {
                        0.6
                    } else if to == 0 {
                        0.4
                    } else {
                        0.0
                    }
                })
                .collect()
        })
        .collect();
    let mut matrix = matrix;
    matrix[0] = vec![0.0, 0.0, 0.0, 0.0, 1.0];
    for from in 0..5 {
        let symmetric = noisy(&LabelNoise::Symmetric { rate: 0.4 })?;
        let flipped = noisy(&LabelNoise::PairFlip { rate: 0.3 })?;
        let by_matrix = noisy(&LabelNoise::Transition { matrix: matrix.clone() })?;
        for to in 0..5 {
            let stays = from == to;
            let expected = [
                (&symmetric, if stays { 0.6 } else { 0.1 }),
                (
                    &flipped,
                    if stays {
                        0.7
                    } else if to == (from + 1) % 5 {
                        0.3
                    } else {
                        0.0
                    },
                ),
                (&by_matrix, matrix[from as usize][to as usize]),
            ];
            for (noisy, expected) in expected {
                // Five standard deviations of a proportion of 12,000.
                let width = 5.0 * (expected * (1.0 - expected) / 12_000.0f64).sqrt();
                assert!((rate(noisy, from, to) - expected).abs() <= width, "{from} to {to}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_wrong_at_a_low_rate_is_wrong_at_a_high_one() -> Result<()> {
    let labels = labels();
    for noise in [|rate| LabelNoise::Symmetric { rate }, |rate| LabelNoise::PairFlip { rate }] {
        let (low, high) = (noisy(&noise(0.1))?, noisy(&noise(0.5))?);
        assert!(low.iter().zip(&labels).any(|(low, label)| low != label));
        for ((low, high), label) in low.iter().zip(&high).zip(&labels) {
            assert!(low == label || high != label);
        }
        assert_eq!(noisy(&noise(0.0))?, labels);
        assert!(noisy(&noise(1.0))?.iter().zip(&labels).all(|(noisy, label)| noisy != label));
    }
    Ok(())
}

#[test]
fn refusals_name_the_argument() {
    let error = |labels: &[u32], classes, noise: LabelNoise| {
        noisy_labels(labels, classes, &noise, &mut stream(1, "noise")).unwrap_err().to_string()
    };
    let flip = |rate| LabelNoise::PairFlip { rate };
    let by = |matrix: &[&[f64]]| LabelNoise::Transition {
        matrix: matrix.iter().map(|row| row.to_vec()).collect(),
    };
    for (message, expected) in [
        (error(&[0], 1, flip(0.5)), "classes should be at least 2, got 1"),
        (error(&[0, 3], 3, flip(0.5)), "labels should be below 3, got 3 at 1"),
        (error(&[0], 2, flip(1.5)), "rate should be from 0 to 1, got 1.5"),
        (error(&[0], 2, flip(f64::NAN)), "rate should be from 0 to 1, got NaN"),
        (error(&[0], 2, by(&[&[1.0, 0.0]])), "2 rows of 2 probabilities, got rows of [2]"),
        (error(&[0], 2, by(&[&[1.0, 0.0], &[0.5, 0.4]])), "add up to 1, got [0.5, 0.4] in row 1"),
        (error(&[0], 2, by(&[&[2.0, -1.0], &[0.5, 0.5]])), "got [2.0, -1.0] in row 0"),
    ] {
        assert!(message.contains(expected), "{message}");
    }
}
