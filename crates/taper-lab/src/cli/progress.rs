//! What a person sees while runs are made: one bar on a terminal, nothing in a pipe.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::runner::Event;

/// The bar's length per run: fine enough that a single long run moves.
const PARTS: u64 = 1000;

pub(super) struct Progress {
    bar: ProgressBar,
    at: Vec<AtomicU64>,
}

impl Progress {
    pub(super) fn new(runs: usize) -> Self {
        // indicatif draws on standard error, and only if that is a terminal.
        let bar = ProgressBar::no_length();
        let template = "{bar:32} {percent:>3}%  {msg}  {elapsed} so far, about {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, at: (0..runs).map(|_| AtomicU64::new(0)).collect() }
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Planned { open: 0, finished, .. } => {
                self.note(&format!("{finished} runs are in the store"));
            }
            Event::Planned { finished, open, begun } => {
                self.bar.set_length(*open as u64 * PARTS);
                self.bar.enable_steady_tick(Duration::from_millis(200));
                let partly =
                    if *begun > 0 { format!(" ({begun} partly done)") } else { String::new() };
                self.note(&format!("{open} runs to make{partly}, {finished} are in the store"));
            }
            Event::SetAside { from, to, reason } => self.note(&format!(
                "{}: damaged ({reason}); set aside in {} and run again",
                from.display(),
                to.display()
            )),
            Event::At { index, fraction } => {
                let Some(at) = self.at.get(*index) else {
                    return;
                };
                let now = (fraction.clamp(0.0, 1.0) * PARTS as f64) as u64;
                let before = at.fetch_max(now, Ordering::Relaxed);
                if now > before {
                    self.bar.inc(now - before);
                }
            }
            Event::Finished { run } => self.bar.set_message(format!(
                "{} {} seed {}",
                run.key.experiment, run.key.arm, run.key.seed
            )),
            Event::Failed { message } => self.note(&format!("failed: {message}")),
        }
    }

    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// A line above the bar, on standard error also where there is no bar.
    fn note(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}
