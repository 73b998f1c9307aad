//! Processors are shared out between runs, not fought over.

use std::num::NonZeroUsize;
use std::process::Command;

/// What rayon and candle read, candle anew at each product.
const THREADS: &str = "RAYON_NUM_THREADS";
/// How long candle's own pool spins before it sleeps; its default starves the threads beside it.
const SPIN: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";

/// Starts this program again in its own place, with each run's share of the processors in the
/// environment: small networks gain nothing from a second thread and lose much to waiting for it.
///
/// Does nothing where the person has set the number of threads. The environment of a running process
/// cannot be changed safely, hence the new start; if it fails, the program goes on, only slower.
pub(super) fn share_out(jobs: NonZeroUsize) {
    if std::env::var_os(THREADS).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let each = (processors.get() / jobs.get()).max(1);
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).env(THREADS, each.to_string());
    if std::env::var_os(SPIN).is_none() {
        again.env(SPIN, "100");
    }
    start(again);
}

/// Only returns if it could not start.
#[cfg(unix)]
fn start(mut again: Command) {
    let _ = std::os::unix::process::CommandExt::exec(&mut again);
}

#[cfg(not(unix))]
fn start(mut again: Command) {
    if let Ok(status) = again.status() {
        std::process::exit(status.code().unwrap_or(1));
    }
}
