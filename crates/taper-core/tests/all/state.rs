//! Snapshots: what goes in comes out, to the bit, and errors say where.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use taper_core::testing::assert_close;
use taper_core::{Error, Result, Snapshot, Stateful};

const CPU: &Device = &Device::Cpu;

fn through_bytes(snapshot: &Snapshot) -> Result<Snapshot> {
    Snapshot::from_bytes(&snapshot.to_bytes()?, CPU)
}

proptest! {
    #[test]
    fn scalars_survive_to_the_bit(whole: u64, bits: u64, text: String) {
        let mut snapshot = Snapshot::new();
        snapshot.put_u64("whole", whole);
        snapshot.put_f64("real", f64::from_bits(bits));
        snapshot.put_text("text", &text);
        let back = through_bytes(&snapshot).unwrap();
        prop_assert_eq!(back.get_u64("whole").unwrap(), whole);
        prop_assert_eq!(back.get_f64("real").unwrap().to_bits(), bits);
        prop_assert_eq!(back.get_text("text").unwrap(), text);
    }
}

#[test]
fn tensors_survive_in_every_dtype_and_layout() -> Result<()> {
    let base = Tensor::new(&[[1f32, 2.0, 3.0], [4.0, 5.0, 250.0]], CPU)?;
    for dtype in [DType::U8, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64] {
        let tensor = base.to_dtype(dtype)?;
        for view in [tensor.clone(), tensor.t()?, tensor.narrow(1, 1, 2)?] {
            let mut snapshot = Snapshot::new();
            snapshot.put_tensor("x", &view);
            assert_close(through_bytes(&snapshot)?.get_tensor("x")?, &view, 0.0);
        }
    }
    Ok(())
}

#[test]
fn the_same_content_gives_the_same_bytes() -> Result<()> {
    let x = Tensor::new(1f32, CPU)?;
    let snapshot = |names: [&str; 3]| {
        let mut snapshot = Snapshot::new();
        for name in names {
            snapshot.put_tensor(name, &x);
            snapshot.put_text(&format!("{name} text"), name);
        }
        snapshot.to_bytes()
    };
    assert!(snapshot(["a", "b", "c"])? == snapshot(["c", "a", "b"])?);
    Ok(())
}

/// A part that remembers one number.
struct Counter(u64);

impl Stateful for Counter {
    fn save(&self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.put_u64("count", self.0);
        Ok(())
    }

    fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.0 = snapshot.get_u64("count")?;
        Ok(())
    }
}

#[test]
fn parts_lie_below_their_names() -> Result<()> {
    let mut snapshot = Snapshot::new();
    snapshot.put("a", &Counter(1))?;
    snapshot.put("a.b", &Counter(2))?;
    snapshot.put("ab", &Counter(3))?;
    let snapshot = through_bytes(&snapshot)?;
    for (name, expected) in [("a", 1), ("a.b", 2), ("ab", 3)] {
        let mut counter = Counter(0);
        snapshot.get(name, &mut counter)?;
        assert_eq!(counter.0, expected);
    }
    let error = snapshot.get("c", &mut Counter(0)).unwrap_err();
    assert!(matches!(&error, Error::State { name, .. } if name == "c.count"), "{error}");
    Ok(())
}

#[test]
fn errors_name_the_entry() -> Result<()> {
    let mut snapshot = Snapshot::new();
    snapshot.put_u64("n", 1);
    let message = |result: Result<()>| result.unwrap_err().to_string();
    assert!(message(snapshot.get_f64("n").map(drop)).contains("n: expected a real number"));
    assert!(message(snapshot.get_text("n").map(drop)).contains("n: expected a text"));
    assert!(message(snapshot.get_tensor("n").map(drop)).contains("n: not in the saved state"));
    snapshot.put_text("t", "");
    assert!(message(snapshot.get_u64("t").map(drop)).contains("t: expected a whole number"));
    assert!(Snapshot::from_bytes(b"", CPU).is_err());
    let bytes = snapshot.to_bytes()?;
    assert!(Snapshot::from_bytes(&bytes[..bytes.len() - 1], CPU).is_err());
    let spoilt = String::from_utf8_lossy(&bytes).replace("u64", "u46").into_bytes();
    assert!(message(Snapshot::from_bytes(&spoilt, CPU).map(drop)).contains("u46"));
    Ok(())
}

#[test]
fn a_plain_safetensors_file_has_no_scalars() -> Result<()> {
    let x = Tensor::new(&[1f32, 2.0], CPU)?;
    let bytes = safetensors::serialize([("x", &x)], None)?;
    let snapshot = Snapshot::from_bytes(&bytes, CPU)?;
    assert_close(snapshot.get_tensor("x")?, &x, 0.0);
    assert_eq!(snapshot.tensors().count(), 1);
    Ok(())
}
