//! Wrong labels, made on purpose.

use taper_core::{Error, Result, Stream};

const NAME: &str = "noisy_labels";

/// How labels go wrong, each by itself.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelNoise {
    /// With this probability a label becomes one of the *other* classes, each with the same chance: a rate of
    /// (K − 1) / K leaves nothing to learn from K classes. (Some papers draw from all classes, the right one
    /// included: their rate r is r (K − 1) / K here.)
    Symmetric {
        /// From 0 to 1.
        rate: f64,
    },
    /// With this probability a label becomes the next class, the last one the first.
    PairFlip {
        /// From 0 to 1.
        rate: f64,
    },
    /// A label c becomes class k with the probability in row c, column k. Each row adds up to 1 within 1e-9.
    Transition {
        /// As many rows, and columns in each, as there are classes.
        matrix: Vec<Vec<f64>>,
    },
}

/// Labels with noise: each label draws one number from `stream`, whether it changes or not, so that with the same stream
/// the labels that are wrong at a low rate are so at a higher one too.
///
/// # Errors
/// A rate that is no probability, a matrix that is none of probabilities or of another size, a label that is not below
/// `classes`, noise between fewer than 2 classes.
///
/// # References
/// - Patrini, Rozza, Menon, Nock and Qu 2017, Making deep neural networks robust to label noise: a loss correction
///   approach, <https://arxiv.org/abs/1609.03683> (transition matrices).
/// - Han et al. 2018, Co-teaching, <https://arxiv.org/abs/1804.06872> (symmetric noise and pair flips).
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use taper_data::{LabelNoise, noisy_labels};
///
/// let mut stream = taper_core::stream(7, "labels");
/// let flipped = noisy_labels(&[0, 1, 2], 3, &LabelNoise::PairFlip { rate: 1.0 }, &mut stream)?;
/// assert_eq!(flipped, [1, 2, 0]);
/// # Ok(())
/// # }
/// ```
pub fn noisy_labels(
    labels: &[u32],
    classes: u32,
    noise: &LabelNoise,
    stream: &mut Stream,
) -> Result<Vec<u32>> {
    if classes < 2 {
        return Err(Error::argument(NAME, "classes", "at least 2", classes));
    }
    if let Some(at) = labels.iter().position(|label| *label >= classes) {
        let received = format!("{} at {at}", labels[at]);
        return Err(Error::argument(NAME, "labels", format!("below {classes}"), received));
    }
    noise.check(classes)?;
    Ok(labels.iter().map(|label| noise.draw(*label, classes, stream.unit())).collect())
}

impl LabelNoise {
    fn check(&self, classes: u32) -> Result<()> {
        match self {
            Self::Symmetric { rate } | Self::PairFlip { rate } => {
                if !(0.0..=1.0).contains(rate) {
                    return Err(Error::argument(NAME, "rate", "from 0 to 1", rate));
                }
            }
            Self::Transition { matrix } => {
                let size = classes as usize;
                if matrix.len() != size || matrix.iter().any(|row| row.len() != size) {
                    let lengths: Vec<_> = matrix.iter().map(Vec::len).collect();
                    let expected = format!("{size} rows of {size} probabilities");
                    return Err(Error::argument(
                        NAME,
                        "matrix",
                        expected,
                        format!("rows of {lengths:?}"),
                    ));
                }
                let is_law = |row: &Vec<f64>| {
                    let sum: f64 = row.iter().sum();
                    row.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() <= 1e-9
                };
                if let Some(at) = matrix.iter().position(|row| !is_law(row)) {
                    let expected = "rows of probabilities that add up to 1";
                    return Err(Error::argument(
                        NAME,
                        "matrix",
                        expected,
                        format!("{:?} in row {at}", matrix[at]),
                    ));
                }
            }
        }
        Ok(())
    }

    /// What becomes of a label, for a number in [0, 1).
    fn draw(&self, label: u32, classes: u32, unit: f64) -> u32 {
        match self {
            Self::Symmetric { rate } if unit < *rate => {
                // Where in [0, rate) the number lies tells which of the others.
                let step = ((unit / rate) * f64::from(classes - 1)) as u32;
                (label + 1 + step.min(classes - 2)) % classes
            }
            Self::PairFlip { rate } if unit < *rate => (label + 1) % classes,
            Self::Symmetric { .. } | Self::PairFlip { .. } => label,
            Self::Transition { matrix } => {
                let row = &matrix[label as usize];
                let mut below = 0.0;
                let found = row.iter().position(|probability| {
                    below += probability;
                    unit < below
                });
                // The sum may end a rounding below 1.
                let last = || row.iter().rposition(|probability| *probability > 0.0);
                found.or_else(last).map_or(label, |class| class as u32)
            }
        }
    }
}
