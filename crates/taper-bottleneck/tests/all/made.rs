//! Parameters made from their names, as `xtask/goldens/networks.py` makes them: a whole network's are too many to write down.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use candle_core::{DType, Device, Tensor};
use taper_core::Result;
use taper_core::testing::Case;

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
const COUNT: &str = "num_batches_tracked";
/// Batches before the step.
pub(crate) const COUNTED: i64 = 2;

/// FNV-1a of the name's bytes.
fn fnv(name: &str) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325;
    name.bytes()
        .fold(start, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Numbers from -1 up to but not 1.
fn signed(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let seed = fnv(name);
    (1..=count as u64).map(move |index| {
        let bits = seed.wrapping_add(index.wrapping_mul(GAMMA));
        let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = bits ^ (bits >> 31);
        2.0 * ((bits >> 40) as f64 / f64::from(1 << 24)) - 1.0
    })
}

/// `middle + width * v`, rounded to f32.
pub(crate) fn made(name: &str, shape: &[usize], middle: f64, width: f64) -> Result<Tensor> {
    let values = signed(name, shape.iter().product()).map(|v| (middle + width * v) as f32);
    Ok(Tensor::from_vec(values.collect(), shape, &Device::Cpu)?)
}

/// The state dict of what has these names and shapes, for a case of the golden files.
pub(crate) fn state(
    shapes: &BTreeMap<String, Vec<usize>>,
    case: &Case,
) -> Result<HashMap<String, Tensor>> {
    let norms = shapes.keys().filter_map(|name| name.strip_suffix(".running_mean"));
    let norms: BTreeSet<&str> = norms.collect();
    let entry = |(name, shape): (&String, &Vec<usize>)| {
        Ok((name.clone(), entry(name, shape, &norms, case)?))
    };
    shapes.iter().map(entry).collect()
}

fn entry(name: &str, shape: &[usize], norms: &BTreeSet<&str>, case: &Case) -> Result<Tensor> {
    let (layer, last) = name.rsplit_once('.').expect("the name of a layer before a dot");
    let of_norm = norms.contains(layer);
    match last {
        COUNT => Ok(Tensor::new(COUNTED, &Device::Cpu)?),
        "bias" if of_norm => {
            let [low, high] = case.f64s("norm_bias")?[..] else { panic!("two numbers") };
            let value = |v: f64| {
                let sign = if v < 0.0 { -1.0 } else { 1.0 };
                (sign * (low + (high - low) * v.abs())) as f32
            };
            let values = signed(name, shape.iter().product()).map(value);
            Ok(Tensor::from_vec(values.collect(), shape, &Device::Cpu)?)
        }
        "weight" if of_norm => {
            let middle = case.f64("norm_weight")?;
            made(name, shape, middle, middle / 4.0)
        }
        "running_var" => made(name, shape, 1.0, 0.5),
        "layer_scale" => made(name, shape, 0.5, 0.25),
        "weight" if shape.len() > 1 => {
            // The variance is 2 over the inputs of an output.
            let inputs: usize = shape[1..].iter().product();
            made(name, shape, 0.0, (6.0 / inputs as f64).sqrt())
        }
        "weight" => made(name, shape, 0.75, 0.25),
        // A bias or a running mean.
        _ => made(name, shape, 0.0, 0.125),
    }
}

/// Whether the entry is a count of batches.
pub(crate) fn is_count(name: &str) -> bool {
    name.ends_with(COUNT)
}

#[test]
fn a_name_gives_the_numbers_that_python_has() -> Result<()> {
    let values = made("conv1.weight", &[3], 0.0, 1.0)?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    assert_eq!(values, [0.0901498794555664, 0.49032342433929443, -0.9541566371917725]);
    Ok(())
}
