//! What a person sees while a data set or a file of weights is fetched.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressStyle};
use taper_data::Event;

/// What a person sees while a data set or a file of weights is fetched: a bar on a terminal, and in a pipe only what went wrong.
pub(super) struct Progress {
    bar: ProgressBar,
    name: String,
}

impl Progress {
    pub(super) fn new(name: &impl Display) -> Self {
        // indicatif draws on standard error, and only if that is a terminal.
        let bar = ProgressBar::no_length();
        let template =
            "{msg} {wide_bar} {bytes} of {total_bytes}  {binary_bytes_per_sec}  about {eta} to go";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, name: name.to_string() }
    }

    pub(super) fn observe(&self, event: &Event<'_>) {
        match event {
            Event::Present => self.note("it is here, and whole"),
            Event::Damaged { reason } => self.note(reason),
            Event::Waiting => self.note("another process is fetching it: waiting for that to end"),
            Event::File { name, bytes, there } => {
                self.bar.set_length(*bytes);
                self.bar.set_position(*there);
                self.bar.reset_eta();
                self.bar.set_message((*name).to_owned());
                if *there > 0 && there < bytes {
                    self.note(&format!("{name} goes on after {there} of {bytes} bytes"));
                }
            }
            Event::Received { there } => self.bar.set_position(*there),
            Event::Again { what, reason, pause } => {
                self.note(&format!("{what}: {reason}; again in {:.1} s", pause.as_secs_f64()));
            }
            Event::Quarantined { path, reason } => self.note(&format!(
                "what came is not what the hub has on record ({reason}); it was moved to {}",
                path.display()
            )),
            Event::Decoding => {
                if let Ok(style) = ProgressStyle::with_template("{msg}") {
                    self.bar.set_style(style);
                }
                self.bar.set_message(format!("{}: decoding the images", self.name));
                self.bar.tick();
            }
            _ => {}
        }
    }

    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// A line above the bar, on standard error also where there is no bar.
    fn note(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{}: {line}", self.name));
    }
}
