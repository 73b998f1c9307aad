//! A peer: a program that does work by name when it is asked to, and says how long it took.
//!
//! It speaks lines of JSON over its standard streams. It begins with who it is:
//!
//! ```text
//! {"name": "candle-nn", "version": "0.11.1", "threads": 2, "settings": {"allocator": "mimalloc"}}
//! ```
//!
//! and then answers each request with one line, until its input ends:
//!
//! ```text
//! {"work": "mlp", "batch": 128, "variant": "", "seconds": 0.4}  ->  {"samples_ms": [...], "base_ms": [...]}
//! {"work": "mlp", "batch": 128, "variant": "", "steps": 30}     ->  {"held_kib": ..., "peak_kib": ..., "peak_of_steps_kib": ...}
//! ```
//!
//! or with `{"unsupported": "why"}`. What was built for a work stays until another work is asked for.
//! `base_ms` are times of what is no part of the work but cannot be left out of it.
//!
//! burn's peer, a package of its own, includes this file by its path; so it uses nothing but the
//! standard library and serde_json.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Why a work cannot be done.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One call of a work.
pub type Call = Box<dyn FnMut() -> Result<(), Failure>>;

/// Which work is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Its name.
    pub work: String,
    /// How many samples a step takes, where the work is a training step.
    pub batch: usize,
    /// Which of several ways to do it; empty for the usual one.
    pub variant: String,
}

/// A work, built and ready to be called.
pub struct Work {
    run: Call,
    base: Option<Call>,
}

impl Work {
    /// A work whose calls are timed.
    pub fn new<E: Into<Failure>>(mut run: impl FnMut() -> Result<(), E> + 'static) -> Self {
        Self { run: Box::new(move || run().map_err(Into::into)), base: None }
    }

    /// The same with calls of `base` in between, which are timed by themselves.
    #[must_use]
    pub fn over<E: Into<Failure>>(
        mut self,
        mut base: impl FnMut() -> Result<(), E> + 'static,
    ) -> Self {
        self.base = Some(Box::new(move || base().map_err(Into::into)));
        self
    }
}

/// Who the peer is.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// What it measures.
    pub name: &'static str,
    /// The version of that.
    pub version: String,
    /// What else decides its speed, such as the allocator.
    pub settings: Vec<(&'static str, String)>,
}

/// How many threads the peer is to use: `PEER_THREADS`, or one for each processor.
pub fn threads() -> usize {
    let asked = std::env::var("PEER_THREADS").ok().and_then(|threads| threads.parse().ok());
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into))
}

/// Answers the requests on the standard input.
pub fn serve(
    introduction: &Introduction,
    build: impl Fn(&Wanted) -> Result<Work, Failure>,
) -> io::Result<()> {
    let settings: BTreeMap<_, _> = introduction.settings.iter().cloned().collect();
    say(&json!({
        "name": introduction.name,
        "version": introduction.version,
        "threads": threads(),
        "settings": settings,
    }))?;
    let mut built: BTreeMap<Wanted, Work> = BTreeMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &mut built, &build);
        say(&answer.unwrap_or_else(|why| json!({ "unsupported": why.to_string() })))?;
    }
    Ok(())
}

fn say(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

fn answer(
    line: &str,
    built: &mut BTreeMap<Wanted, Work>,
    build: impl Fn(&Wanted) -> Result<Work, Failure>,
) -> Result<Value, Failure> {
    let request: Value = serde_json::from_str(line)?;
    let text = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
    let batch = request["batch"].as_u64().unwrap_or_default() as usize;
    let wanted = Wanted { work: text("work"), batch, variant: text("variant") };
    // Old work would take memory, and its threads time, from the new.
    built.retain(|other, _| other.work == wanted.work);
    let work = match built.entry(wanted) {
        std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
        std::collections::btree_map::Entry::Vacant(place) => {
            let work = build(place.key())?;
            place.insert(work)
        }
    };
    match (request["seconds"].as_f64(), request["steps"].as_u64()) {
        (Some(seconds), None) => time(work, Duration::try_from_secs_f64(seconds)?),
        (None, Some(steps)) => remember(work, steps),
        _ => Err("a request has either seconds or steps".into()),
    }
}

/// Calls the work for about so long: calls for caches and threads to wake up, then at least three that
/// are timed.
fn time(work: &mut Work, duration: Duration) -> Result<Value, Failure> {
    let start = Instant::now();
    loop {
        work.base.as_mut().map_or(Ok(()), |base| base())?;
        (work.run)()?;
        if start.elapsed() >= (duration / 10).min(Duration::from_millis(50)) {
            break;
        }
    }
    let (mut samples, mut base_samples) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while samples.len() < 3 || start.elapsed() < duration {
        if let Some(base) = &mut work.base {
            base_samples.push(milliseconds(base)?);
        }
        samples.push(milliseconds(&mut work.run)?);
    }
    Ok(json!({ "samples_ms": samples, "base_ms": base_samples }))
}

fn milliseconds(call: &mut Call) -> Result<f64, Failure> {
    let start = Instant::now();
    black_box(call()?);
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// What the process held before the first step, and its peak until then.
static HELD: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Marks the moment at which a training step's model and data are there, and its optimizer is not yet.
pub fn hold() {
    HELD[0].store(kib("VmRSS").unwrap_or(0), Ordering::Relaxed);
    HELD[1].store(kib("VmHWM").unwrap_or(0), Ordering::Relaxed);
    // Starts the peak anew. Where that is not allowed, the peak of the steps is that of the process.
    fs::write("/proc/self/clear_refs", "5").unwrap_or_default();
}

/// The memory that steps take. The work must have been built for this request, in a fresh process.
fn remember(work: &mut Work, steps: u64) -> Result<Value, Failure> {
    for _ in 0..steps {
        (work.run)()?;
    }
    let [held, peak_before] = [&HELD[0], &HELD[1]].map(|it| it.load(Ordering::Relaxed));
    let of_steps = kib("VmHWM").ok_or("the system does not tell a process's peak memory")?;
    if held == 0 {
        return Err("it is no training step".into());
    }
    let peak = of_steps.max(peak_before);
    Ok(json!({ "held_kib": held, "peak_kib": peak, "peak_of_steps_kib": of_steps }))
}

/// A line of `/proc/self/status`, in KiB.
fn kib(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::{Failure, Wanted, Work, answer};

    /// A peer of two works, which notes what it builds and calls.
    #[derive(Default)]
    struct Fake {
        built: BTreeMap<Wanted, Work>,
        notes: Rc<RefCell<Vec<String>>>,
    }

    impl Fake {
        fn ask(&mut self, line: &str) -> Result<serde_json::Value, String> {
            let notes = self.notes.clone();
            let build = |wanted: &Wanted| -> Result<Work, Failure> {
                notes.borrow_mut().push(format!("{} {}", wanted.work, wanted.batch));
                let (run, base) = (notes.clone(), notes.clone());
                match wanted.work.as_str() {
                    "fails" => Ok(Work::new(|| Err("no such luck"))),
                    "plain" => Ok(Work::new(|| Ok::<_, Failure>(()))),
                    "over" => Ok(Work::new(move || -> Result<(), Failure> {
                        run.borrow_mut().push("run".to_owned());
                        Ok(())
                    })
                    .over(move || -> Result<(), Failure> {
                        base.borrow_mut().push("base".to_owned());
                        Ok(())
                    })),
                    _ => Err("not known".into()),
                }
            };
            answer(line, &mut self.built, build).map_err(|why| why.to_string())
        }
    }

    #[test]
    fn at_least_three_calls_are_timed_after_one_that_is_not() {
        let mut fake = Fake::default();
        let answer = fake.ask(r#"{"work": "over", "seconds": 0.0}"#).unwrap();
        for key in ["samples_ms", "base_ms"] {
            let samples = answer[key].as_array().unwrap();
            assert_eq!(samples.len(), 3, "{key}");
            assert!(samples.iter().all(|sample| sample.as_f64().unwrap() >= 0.0));
        }
        let mut expected = vec!["over 0"];
        expected.extend(["base", "run"].repeat(4));
        assert_eq!(*fake.notes.borrow(), expected);
    }

    #[test]
    fn what_was_built_stays_until_another_work_is_asked_for() {
        let mut fake = Fake::default();
        for (work, batch) in [("plain", 1), ("plain", 2), ("plain", 1), ("over", 0), ("plain", 1)] {
            fake.ask(&format!(r#"{{"work": "{work}", "batch": {batch}, "seconds": 0}}"#)).unwrap();
        }
        fake.notes.borrow_mut().retain(|note| note.contains(' '));
        assert_eq!(*fake.notes.borrow(), ["plain 1", "plain 2", "over 0", "plain 1"]);
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let mut fake = Fake::default();
        assert_eq!(fake.ask(r#"{"work": "other", "seconds": 0}"#).unwrap_err(), "not known");
        assert_eq!(fake.ask(r#"{"work": "fails", "seconds": 0}"#).unwrap_err(), "no such luck");
        let either = "a request has either seconds or steps";
        assert_eq!(fake.ask(r#"{"work": "plain"}"#).unwrap_err(), either);
        let both = fake.ask(r#"{"work": "plain", "seconds": 1, "steps": 1}"#);
        assert_eq!(both.unwrap_err(), either);
        assert!(fake.ask("nonsense").is_err());
        assert!(fake.ask(r#"{"work": "plain", "seconds": -1}"#).is_err());
    }
}
