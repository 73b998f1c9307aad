//! How far the distributions of a layer's units move while the network trains.

use candle_core::{Device, Tensor};
use taper_core::{Error, Result, Snapshot, Stateful};

use super::percentiles::{percentiles, quantile_of_sorted};

/// The percentiles that [`Drift`] follows, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DriftConfig {
    /// Where a unit's spread begins.
    pub lower: f64,
    /// What moves.
    pub middle: f64,
    /// Where its spread ends.
    pub upper: f64,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { lower: 0.15, middle: 0.5, upper: 0.85 }
    }
}

/// Follows three percentiles of every unit of a layer from observation to observation.
///
/// # Equation
/// drift of a unit = Σ_t |m_t − m_{t−1}| / mean_t (u_t − l_t)
///
/// with its lower, middle and upper percentile l, m and u at observation t: the length of the way that its median
/// travels, in units of its mean spread. A unit that only scales up has not drifted.
///
/// # Shapes
/// activations (N, C) with any more axes, with the same C each time; one drift a unit, no unit of measure.
///
/// # Parameters
/// Of [`DriftConfig`]:
/// - `lower`: 0.15, below `middle`.
/// - `middle`: 0.5.
/// - `upper`: 0.85, above `middle`.
///
/// # Numerics
/// In f64. A unit that has no spread at any observation has the drift infinity, or NaN if it did not move;
/// [`Drift::median`] is NaN where a unit's drift is, and before the first observation.
///
/// # Deviations
/// 1. The paper shows the three percentiles of one unit and puts no number on their movement; the number is ours. It
///    is that of a path: more observations of a noisy median make it longer, so compare drifts over the same ones.
///
/// # Errors
/// Percentiles that do not ascend from 0 to 1; activations that [`percentiles`](crate::percentiles()) refuses, or
/// with another number of units than before.
///
/// # References
/// - Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal
///   covariate shift, figure 1, <https://arxiv.org/abs/1502.03167>.
///
/// # Example
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{Device, Tensor};
/// use taper_norm::{Drift, DriftConfig};
///
/// let mut drift = Drift::new(DriftConfig { lower: 0.0, middle: 0.5, upper: 1.0 })?;
/// drift.observe(&Tensor::new(&[[0.0], [1.0], [2.0]], &Device::Cpu)?)?;
/// // The median moves by 3, the spread is 2 and then 4.
/// let seen = drift.observe(&Tensor::new(&[[2.0], [4.0], [6.0]], &Device::Cpu)?)?;
/// assert_eq!(seen, [[2.0, 4.0, 6.0]]);
/// assert_eq!((drift.travelled(), drift.of_units()), (&[3.0][..], vec![1.0]));
/// assert_eq!(drift.median(), 1.0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    config: DriftConfig,
    middles: Vec<f64>,
    travelled: Vec<f64>,
    spread: Vec<f64>,
    observations: u64,
}

impl Default for Drift {
    fn default() -> Self {
        Self::start(DriftConfig::default())
    }
}

impl Drift {
    /// Nothing observed yet.
    pub fn new(config: DriftConfig) -> Result<Self> {
        let DriftConfig { lower, middle, upper } = config;
        // Written so that NaN is refused.
        if !(0.0 <= lower && lower < middle && middle < upper && upper <= 1.0) {
            let received = format!("{lower}, {middle}, {upper}");
            return Err(Error::argument(NAME, "percentiles", "ascending from 0 to 1", received));
        }
        Ok(Self::start(config))
    }

    fn start(config: DriftConfig) -> Self {
        let (middles, travelled, spread) = Default::default();
        Self { config, middles, travelled, spread, observations: 0 }
    }

    /// Takes in a layer's activations; returns each unit's lower, middle and upper percentile.
    pub fn observe(&mut self, activations: &Tensor) -> Result<Vec<[f64; 3]>> {
        let DriftConfig { lower, middle, upper } = self.config;
        let found = percentiles(activations, &[lower, middle, upper])?;
        let units: Vec<[f64; 3]> = found.into_iter().filter_map(|it| it.try_into().ok()).collect();
        if self.observations == 0 {
            self.middles = units.iter().map(|[_, middle, _]| *middle).collect();
            self.travelled = vec![0.0; units.len()];
            self.spread = vec![0.0; units.len()];
        }
        if units.len() != self.middles.len() {
            let expected = format!("of {} units as before", self.middles.len());
            return Err(Error::argument(NAME, "activations", expected, units.len()));
        }
        let known = self.middles.iter_mut().zip(&mut self.travelled).zip(&mut self.spread);
        for (((before, travelled), spread), [low, middle, high]) in known.zip(&units) {
            *travelled += (middle - *before).abs();
            *spread += high - low;
            *before = *middle;
        }
        self.observations += 1;
        Ok(units)
    }

    /// How far the middle percentile of each unit travelled, in the unit of the activations.
    pub fn travelled(&self) -> &[f64] {
        &self.travelled
    }

    /// The drift of each unit: how far it travelled over its mean spread.
    pub fn of_units(&self) -> Vec<f64> {
        let units = self.travelled.iter().zip(&self.spread);
        units.map(|(travelled, spread)| travelled / (spread / self.observations as f64)).collect()
    }

    /// The median over the units of their drifts.
    pub fn median(&self) -> f64 {
        let mut drifts = self.of_units();
        if drifts.iter().any(|drift| drift.is_nan()) {
            return f64::NAN;
        }
        drifts.sort_by(f64::total_cmp);
        quantile_of_sorted(&drifts, 0.5)
    }
}

const NAME: &str = "Drift";

impl Stateful for Drift {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        for (name, values) in
            [("medians", &self.middles), ("travelled", &self.travelled), ("spread", &self.spread)]
        {
            let tensor = Tensor::from_slice(values, values.len(), &Device::Cpu)?;
            snapshot.put_tensor(name, &tensor);
        }
        snapshot.put_u64("observations", self.observations);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let values = |name| -> Result<Vec<f64>> { Ok(snapshot.get_tensor(name)?.to_vec1()?) };
        let (middles, travelled, spread) =
            (values("medians")?, values("travelled")?, values("spread")?);
        let observations = snapshot.get_u64("observations")?;
        if travelled.len() != middles.len() || spread.len() != middles.len() {
            return Err(Error::state("spread", "it should have as many units as the medians"));
        }
        *self = Self { config: self.config, middles, travelled, spread, observations };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(shift: f32) -> Tensor {
        let values: Vec<f32> = (0..101).map(|value| value as f32 / 70.0 + shift).collect();
        Tensor::from_vec(values, (101, 1), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_unit_that_moves_by_its_spread_drifts_by_one() -> Result<()> {
        let mut drift = Drift::default();
        // The spread from the 15th to the 85th percentile of 0..=100 over 70 is 1.
        let [low, median, high] = drift.observe(&ramp(0.0))?[0];
        assert!((high - low - 1.0).abs() < 1e-6 && (median - 50.0 / 70.0).abs() < 1e-6);
        drift.observe(&ramp(0.5))?;
        drift.observe(&ramp(0.0))?;
        assert!((drift.median() - 1.0).abs() < 1e-5);
        Ok(())
    }

    #[test]
    fn goes_on_from_its_state() -> Result<()> {
        let (mut through, mut resumed) = (Drift::default(), Drift::default());
        assert!(through.median().is_nan());
        for at in 0..4 {
            through.observe(&ramp(at as f32 * 0.3))?;
            let mut snapshot = Snapshot::new();
            resumed.observe(&ramp(at as f32 * 0.3))?;
            resumed.save(&mut snapshot)?;
            resumed = Drift::default();
            resumed.restore(&Snapshot::from_bytes(&snapshot.to_bytes()?, &Device::Cpu)?)?;
        }
        assert_eq!(through, resumed);
        Ok(())
    }

    #[test]
    fn a_unit_without_spread_and_errors() -> Result<()> {
        let at = |value: f64| Tensor::new(&[[value, 1.0], [value, 1.0]], &Device::Cpu);
        let mut drift = Drift::default();
        drift.observe(&at(1.0)?)?;
        drift.observe(&at(2.0)?)?;
        assert_eq!(drift.of_units()[0], f64::INFINITY);
        assert!(drift.of_units()[1].is_nan() && drift.median().is_nan());
        assert_eq!(
            drift.observe(&ramp(0.0)).unwrap_err().to_string(),
            "Drift: activations should be of 2 units as before, got 1"
        );
        let config = DriftConfig { lower: 0.6, ..Default::default() };
        assert_eq!(
            Drift::new(config).unwrap_err().to_string(),
            "Drift: percentiles should be ascending from 0 to 1, got 0.6, 0.5, 0.85"
        );
        Ok(())
    }
}
