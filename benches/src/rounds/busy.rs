//! Whether the machine did something else while a round was timed.
//!
//! Two signs: processor time that neither this process nor a peer used (Linux tells), and a fixed loop
//! that takes longer than it has taken before (anywhere), as when the clock is slowed down.

use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

/// The part of the processors' time that others may use.
const OTHERS: f64 = 0.04;

/// How much longer than at its best the loop may take.
const SLOWER: f64 = 1.1;

/// Tells calm rounds from busy ones.
pub(super) struct Watch {
    best: Option<Duration>,
    processors: usize,
}

/// A round that is being timed.
pub(super) struct Round {
    peers: Vec<u32>,
    before: Option<Clock>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, Into::into);
        let mut watch = Self { best: None, processors };
        // The first calls wake the processors up.
        for _ in 0..5 {
            watch.is_slow();
        }
        watch
    }

    pub(super) fn begin(&self, peers: Vec<u32>) -> Round {
        let before = Clock::now(&peers);
        Round { peers, before }
    }

    /// Why the round is not to be trusted, if so.
    pub(super) fn end(&mut self, round: &Round) -> Option<String> {
        let after = Clock::now(&round.peers);
        let others = round.before.zip(after).map_or(0.0, |(before, after)| others(before, after));
        if others > OTHERS {
            return Some(format!("other programs used {:.0}% of the processors", others * 100.0));
        }
        self.is_slow().then(|| "the processors are slower than before".to_owned())
    }

    /// Times the loop on all processors at once, at the best of three.
    fn is_slow(&mut self) -> bool {
        let time = (0..3).map(|_| fixed_work(self.processors)).min().unwrap_or_default();
        let best = self.best.map_or(time, |best| best.min(time));
        self.best = Some(best);
        time.as_secs_f64() > best.as_secs_f64() * SLOWER
    }
}

/// How long the slowest of the threads takes for a chain of multiplications.
fn fixed_work(threads: usize) -> Duration {
    let work = || {
        let start = Instant::now();
        let mut state = black_box(1u64);
        for _ in 0..1_000_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        }
        black_box(state);
        start.elapsed()
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|it| it.join().ok()).max().unwrap_or_default()
    })
}

/// Processor time since the machine began, in ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Clock {
    /// Of all processors, idle or not.
    all: u64,
    /// In which they worked, or another machine had them.
    used: u64,
    /// That this process and the peers used.
    own: u64,
}

impl Clock {
    fn now(peers: &[u32]) -> Option<Self> {
        let (all, used) = of_machine(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut own = of_process(&fs::read_to_string("/proc/self/stat").ok()?)?;
        for peer in peers {
            own += of_process(&fs::read_to_string(format!("/proc/{peer}/stat")).ok()?)?;
        }
        Some(Self { all, used, own })
    }
}

/// The part of the time between the two that others used.
fn others(before: Clock, after: Clock) -> f64 {
    let [all, used, own] = [
        after.all.saturating_sub(before.all),
        after.used.saturating_sub(before.used),
        after.own.saturating_sub(before.own),
    ];
    if all == 0 { 0.0 } else { used.saturating_sub(own) as f64 / all as f64 }
}

/// All time and the used time of `/proc/stat`.
fn of_machine(stat: &str) -> Option<(u64, u64)> {
    let words = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    // user nice system idle iowait irq softirq steal; a guest's time is also the user's.
    let times: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let all = times.iter().sum();
    Some((all, all - times.get(3)? - times.get(4)?))
}

/// The time of `/proc/<process>/stat`, in the system and out of it.
fn of_process(stat: &str) -> Option<u64> {
    // The name, in brackets, can hold anything.
    let mut words = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || words.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, Watch, of_machine, of_process, others};

    #[test]
    fn times_are_read_from_the_systems_files() {
        let stat = "cpu  100 1 20 500 30 4 5 6 50 0\ncpu0 1 2 3\n";
        assert_eq!(of_machine(stat), Some((666, 136)));
        assert_eq!(of_machine("cpu  100 1"), None);
        assert_eq!(of_machine("intr 1 2 3"), None);
        let stat = "77 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0 9";
        assert_eq!(of_process(stat), Some(42));
        assert_eq!(of_process("77 (a) S 1 2"), None);
    }

    #[test]
    fn what_neither_we_nor_the_peers_used_is_others() {
        let before = Clock { all: 1000, used: 400, own: 100 };
        let after = Clock { all: 1200, used: 560, own: 250 };
        assert_eq!(others(before, after), 0.05);
        // Ticks are counted at different moments.
        let after = Clock { own: 270, ..after };
        assert_eq!(others(before, after), 0.0);
        assert_eq!(others(before, before), 0.0);
    }

    #[test]
    fn a_round_beside_others_work_is_busy() {
        let mut watch = Watch::new();
        let mut round = watch.begin(vec![]);
        // As if others had used the last ten seconds of a processor, and nobody had been idle.
        if let Some(clock) = &mut round.before {
            *clock = Clock { all: clock.all - 1000, used: clock.used - 1000, own: u64::MAX };
            let why = watch.end(&round).unwrap();
            assert!(why.starts_with("other programs used"), "{why}");
        }
    }

    #[test]
    fn a_loop_that_takes_longer_than_before_is_slow() {
        let mut watch = Watch::new();
        watch.best = Some(Duration::from_nanos(1));
        assert!(watch.is_slow());
        watch.best = Some(Duration::from_secs(60));
        assert!(!watch.is_slow());
        assert!(watch.best.unwrap() < Duration::from_secs(60));
    }
}
