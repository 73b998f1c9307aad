//! Named, seeded streams of random numbers.
//!
//! One seed gives as many independent streams as there are names: a draw that is added to
//! `"dropout"` never shifts `"init"` or `"shuffle"`. The generator is ChaCha with 12 rounds; the
//! seed is its key and the hash of the name its stream number, so the same pair gives the same
//! numbers on every platform and thread count. How numbers are made from its bits is frozen by
//! golden tests (`tests/golden/stream.json`).

use candle_core::{DType, Device, Shape, Tensor};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::state::{Snapshot, Stateful};
use crate::{Error, Result};

/// The stream called `name` under `seed`.
///
/// ```
/// # fn main() -> taper_core::Result<()> {
/// use candle_core::{DType, Device};
///
/// let mut init = taper_core::stream(7, "init");
/// let weight = init.normal(0.0, 0.1, (2, 3), DType::F32, &Device::Cpu)?;
/// let again = taper_core::stream(7, "init").normal(0.0, 0.1, (2, 3), DType::F32, &Device::Cpu)?;
/// assert_eq!(weight.to_vec2::<f32>()?, again.to_vec2::<f32>()?);
/// # Ok(())
/// # }
/// ```
pub fn stream(seed: u64, name: &str) -> Stream {
    let mut rng = ChaCha12Rng::from_seed(key(seed));
    rng.set_stream(fnv1a(name.as_bytes()));
    Stream { rng, seed, name: name.to_owned() }
}

/// A named, seeded stream of random numbers; see [`stream`].
#[derive(Debug, Clone)]
pub struct Stream {
    rng: ChaCha12Rng,
    seed: u64,
    name: String,
}

impl Stream {
    /// The stream called `<this name>/<name>` under the same seed, from its start: where this
    /// stream stands does not matter.
    pub fn child(&self, name: &str) -> Self {
        stream(self.seed, &format!("{}/{name}", self.name))
    }

    /// The name this stream was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seed this stream was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// A number in [0, 1), a multiple of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A draw from the normal distribution with mean 0 and variance 1.
    pub fn standard_normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.rng)
    }

    /// A draw from the beta distribution with the shapes `a` and `b`, in [0, 1] with the mean a / (a + b): X / (X + Y)
    /// of draws from the gamma distributions with these shapes.
    ///
    /// Computed in logarithms: small shapes, whose gamma draws are too small for f64, give 0 or 1, not NaN.
    ///
    /// # Errors
    /// A shape that is not from 1e-300 to 1e300.
    pub fn beta(&mut self, a: f64, b: f64) -> Result<f64> {
        for (argument, shape) in [("a", a), ("b", b)] {
            if !(1e-300..=1e300).contains(&shape) {
                let expected = "from 1e-300 to 1e300";
                return Err(Error::argument("Stream::beta", argument, expected, shape));
            }
        }
        let (x, y) = (self.log_gamma(a), self.log_gamma(b));
        Ok(1.0 / (1.0 + (y - x).exp()))
    }

    /// The logarithm of a draw from the gamma distribution with this shape and scale 1 (Marsaglia and Tsang 2000, "A
    /// simple method for generating gamma variables").
    fn log_gamma(&mut self, shape: f64) -> f64 {
        // A draw for a shape below 1 is one for a shape greater by 1, times a power of a unit.
        if shape < 1.0 {
            let boost = self.log_unit() / shape;
            return boost + self.log_gamma(shape + 1.0);
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.standard_normal();
            let root = 1.0 + c * x;
            if root > 0.0 {
                let log = 3.0 * root.ln();
                if self.log_unit() < 0.5 * x * x + d * (1.0 - root * root * root + log) {
                    return d.ln() + log;
                }
            }
        }
    }

    /// The logarithm of a number in (0, 1].
    fn log_unit(&mut self) -> f64 {
        (1.0 - self.unit()).ln()
    }

    /// A whole number in [0, n), each equally likely; 0 where `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire 2019, "Fast random integer generation in an interval": the high word of a product,
        // with the few low words that would favour some numbers drawn again.
        let mut product = u128::from(self.rng.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let unfair = n.wrapping_neg() % n;
            while (product as u64) < unfair {
                product = u128::from(self.rng.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Puts `items` into a random order, each equally likely (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A tensor of draws from the uniform distribution on [low, high).
    ///
    /// Drawn in f64 and rounded to `dtype`, so that f32 and f64 see the same numbers; after rounding
    /// to a narrow type a value can equal `high`.
    pub fn uniform(
        &mut self,
        low: f64,
        high: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(shape.into(), dtype, device, |s| low + (high - low) * s.unit())
    }

    /// A tensor of draws from the normal distribution with this mean and standard deviation, drawn
    /// in f64 and rounded to `dtype`.
    pub fn normal(
        &mut self,
        mean: f64,
        std: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.fill(shape.into(), dtype, device, |s| mean + std * s.standard_normal())
    }

    /// A tensor of ones, each with probability `probability`, and zeros.
    pub fn bernoulli(
        &mut self,
        probability: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if !(0.0..=1.0).contains(&probability) {
            return Err(Error::argument(
                "Stream::bernoulli",
                "probability",
                "in [0, 1]",
                probability,
            ));
        }
        self.fill(shape.into(), dtype, device, |s| f64::from(s.unit() < probability))
    }

    fn fill(
        &mut self,
        shape: Shape,
        dtype: DType,
        device: &Device,
        mut draw: impl FnMut(&mut Self) -> f64,
    ) -> Result<Tensor> {
        let n = shape.elem_count();
        // f32 is made directly: a batch's dropout mask should not pay for an f64 tensor.
        let tensor = if dtype == DType::F32 {
            let values: Vec<f32> = (0..n).map(|_| draw(self) as f32).collect();
            Tensor::from_vec(values, shape, device)?
        } else {
            let values: Vec<f64> = (0..n).map(|_| draw(self)).collect();
            Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?
        };
        Ok(tensor)
    }
}

impl Stateful for Stream {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put_text("name", &self.name);
        snapshot.put_u64("seed", self.seed);
        let position = self.rng.get_word_pos();
        snapshot.put_u64("position_low", position as u64);
        snapshot.put_u64("position_high", (position >> 64) as u64);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let mut restored = stream(snapshot.get_u64("seed")?, &snapshot.get_text("name")?);
        if restored.name != self.name {
            let reason = format!("expected the stream {:?}, found {:?}", self.name, restored.name);
            return Err(Error::state("name", reason));
        }
        let low = u128::from(snapshot.get_u64("position_low")?);
        let high = u128::from(snapshot.get_u64("position_high")?);
        restored.rng.set_word_pos(low | high << 64);
        *self = restored;
        Ok(())
    }
}

/// The seed's little-endian bytes, four times: 256 bits of key from 64 of seed.
fn key(seed: u64) -> [u8; 32] {
    let mut key = [0; 32];
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&seed.to_le_bytes());
    }
    key
}

/// Fowler-Noll-Vo 1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
