//! What two networks are compared by where one learns faster than the other: the test error at equal training loss.

use taper_core::{Result, Snapshot, Stateful};
use taper_lab::Record;

/// The test error at the first time that the training loss is down to a level, for each of several levels.
pub(crate) struct MatchedLoss {
    levels: Vec<f64>,
    /// NaN where the loss has not been so low.
    errors: Vec<f64>,
}

impl MatchedLoss {
    pub(crate) fn new(levels: &[f64]) -> Self {
        Self { levels: levels.to_vec(), errors: vec![f64::NAN; levels.len()] }
    }

    /// Takes note of the test error at a training loss.
    pub(crate) fn observe(&mut self, loss: f64, error: f64) {
        for (level, noted) in self.levels.iter().zip(&mut self.errors) {
            if noted.is_nan() && loss <= *level {
                *noted = error;
            }
        }
    }

    /// The error at the first level, NaN where the loss has never been so low.
    pub(crate) fn first(&self) -> f64 {
        self.errors.first().copied().unwrap_or(f64::NAN)
    }

    /// Writes the errors as measures, as `error_at_loss_0.1`.
    pub(crate) fn measure(&self, record: &mut Record) {
        for (level, error) in self.levels.iter().zip(&self.errors) {
            record.measure(&format!("error_at_loss_{level}"), *error);
        }
    }
}

impl Stateful for MatchedLoss {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        for (at, error) in self.errors.iter().enumerate() {
            snapshot.put_f64(&at.to_string(), *error);
        }
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        for (at, error) in self.errors.iter_mut().enumerate() {
            *error = snapshot.get_f64(&at.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts_and_what_is_never_reached_is_no_number() {
        let mut matched = MatchedLoss::new(&[0.5, 0.1, 0.01]);
        for (loss, error) in [(f64::NAN, 0.9), (0.6, 0.8), (0.5, 0.4), (0.1, 0.3), (0.05, 0.2)] {
            matched.observe(loss, error);
        }
        let mut snapshot = Snapshot::new();
        matched.save(&mut snapshot).unwrap();
        let mut restored = MatchedLoss::new(&[0.5, 0.1, 0.01]);
        restored.restore(&snapshot).unwrap();
        assert_eq!(restored.first(), 0.4);
        assert_eq!(restored.errors[..2], [0.4, 0.3]);
        assert!(restored.errors[2].is_nan());
    }
}
