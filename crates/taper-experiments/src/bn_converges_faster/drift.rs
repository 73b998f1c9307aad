//! How far the distribution of a layer's inputs moves while the network trains.

use candle_core::{Device, Tensor};
use taper_core::{Result, Snapshot, Stateful};

/// Follows the 15th, 50th and 85th percentile of every unit's input.
///
/// A unit's drift is the length of the way that its median travels over training, divided by the mean
/// of its spread (85th minus 15th percentile): a unit that only scales up has not drifted.
#[derive(Debug, Default)]
pub(super) struct Drift {
    medians: Vec<f64>,
    travelled: Vec<f64>,
    spread: Vec<f64>,
    observations: u64,
}

impl Drift {
    /// Takes the inputs (N, units) in; returns the first unit's percentiles.
    pub(super) fn observe(&mut self, inputs: &Tensor) -> Result<[f64; 3]> {
        let columns: Vec<Vec<f32>> = inputs.t()?.contiguous()?.to_vec2()?;
        let percentiles: Vec<[f64; 3]> = columns.into_iter().map(percentiles).collect();
        if self.observations == 0 {
            self.medians = percentiles.iter().map(|unit| unit[1]).collect();
            self.travelled = vec![0.0; percentiles.len()];
            self.spread = vec![0.0; percentiles.len()];
        }
        for (unit, [low, median, high]) in percentiles.iter().enumerate() {
            self.travelled[unit] += (median - self.medians[unit]).abs();
            self.spread[unit] += high - low;
            self.medians[unit] = *median;
        }
        self.observations += 1;
        Ok(percentiles.first().copied().unwrap_or([f64::NAN; 3]))
    }

    /// The median over units of each one's drift.
    pub(super) fn relative(&self) -> Result<f64> {
        let drifts: Vec<f64> = self
            .travelled
            .iter()
            .zip(&self.spread)
            .map(|(travelled, spread)| travelled / (spread / self.observations as f64))
            .collect();
        taper_lab::stats::quantile(&drifts, 0.5)
    }
}

/// The 15th, 50th and 85th percentile, between neighbours by linear interpolation.
fn percentiles(mut values: Vec<f32>) -> [f64; 3] {
    values.sort_by(f32::total_cmp);
    [0.15, 0.5, 0.85].map(|q| {
        let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
        let place = q * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let (low, high) = (f64::from(values[below]), f64::from(values[above]));
        low + (high - low) * (place - below as f64)
    })
}

impl Stateful for Drift {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        for (name, values) in
            [("medians", &self.medians), ("travelled", &self.travelled), ("spread", &self.spread)]
        {
            let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
            snapshot.put_tensor(name, &tensor);
        }
        snapshot.put_u64("observations", self.observations);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.medians = snapshot.get_tensor("medians")?.to_vec1()?;
        self.travelled = snapshot.get_tensor("travelled")?.to_vec1()?;
        self.spread = snapshot.get_tensor("spread")?.to_vec1()?;
        self.observations = snapshot.get_u64("observations")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_that_moves_by_its_spread_drifts_by_one() {
        let mut drift = Drift::default();
        let at = |shift: f32| {
            let values: Vec<f32> = (0..101).map(|value| value as f32 / 70.0 + shift).collect();
            Tensor::from_vec(values, (101, 1), &Device::Cpu).unwrap()
        };
        // The spread from the 15th to the 85th percentile of 0..=100 over 70 is 1.
        let [low, median, high] = drift.observe(&at(0.0)).unwrap();
        assert!((high - low - 1.0).abs() < 1e-6 && (median - 50.0 / 70.0).abs() < 1e-6);
        drift.observe(&at(0.5)).unwrap();
        drift.observe(&at(0.0)).unwrap();
        assert!((drift.relative().unwrap() - 1.0).abs() < 1e-5);
    }
}
