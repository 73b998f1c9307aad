//! How long it takes from the start of the process to the first batch of a data set that is kept, and how much memory:
//! `cargo run --release -p taper-data --example first_batch -- mnist`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use candle_core::Device;
use taper_data::{Batches, BatchesConfig, DataStore};

fn main() -> taper_data::Result<()> {
    let begun = Instant::now();
    let name = std::env::args().nth(1).unwrap_or_else(|| "mnist".to_owned()).parse()?;
    let train = DataStore::of_user()?.load(&name, "train")?;
    let read = begun.elapsed();
    let config = BatchesConfig { batch_size: 60, ..Default::default() };
    let shuffle = taper_core::stream(7, "shuffle");
    let mut batches = Batches::new(&train, &train.indices(), config, shuffle, &Device::Cpu)?;
    let (images, _) = batches.next_batch()?;
    println!("{name}: {} images read and verified after {read:.3?}", train.len());
    println!("first batch {:?} after {:.3?}", images.dims(), begun.elapsed());
    // What the system says the process has taken at most; on Linux only.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    if let Some(peak) = peak.and_then(|kilobytes| kilobytes.trim().parse::<f64>().ok()) {
        let (peak, data) = (peak * 1024.0 / 1e6, train.images().len() as f64 / 1e6);
        println!(
            "peak memory of the process {peak:.0} MB, pixels {data:.0} MB: {:.2} times",
            peak / data
        );
    }
    Ok(())
}
