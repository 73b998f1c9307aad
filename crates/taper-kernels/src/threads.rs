//! Fork-join: the threads that all kernels share.
//!
//! A kernel cuts its work into tasks, as many as its shape asks for and never as many as there are threads,
//! and [`run`] runs them on a team of threads that is started at the first use. Which thread runs which task
//! is left open; the result cannot depend on it, because a task writes only what is its own.
//!
//! `TAPER_NUM_THREADS` sets the number of threads, else `RAYON_NUM_THREADS`, else it is what the system
//! grants this process. Both are read once, and a value that is no number above 0 counts as not set. On
//! WebAssembly all is run by the calling thread.

#![allow(unsafe_code)] // What the tasks share is borrowed from the caller's stack, and cut by index.

mod parts;
#[cfg(not(target_family = "wasm"))]
mod team;

use std::cell::Cell;

pub use parts::{Chunks, Disjoint, Parts};

thread_local! {
    /// The most threads that a fork-join from this thread may use.
    static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// How many threads a kernel called from here may use: 1 inside a task.
///
/// For what asks the number of threads of other crates. The number of tasks must not depend on it.
pub fn count() -> usize {
    LIMIT.get().min(available())
}

/// Runs `f`, in which kernels called on this thread use at most `threads` threads; 0 counts as 1.
///
/// A limit inside a limit can only be tighter. Meant for tests and for measuring how work scales.
///
/// ```
/// use taper_kernels::threads;
///
/// assert_eq!(threads::limit(1, threads::count), 1);
/// ```
pub fn limit<R>(threads: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            LIMIT.set(self.0);
        }
    }
    let _restore = Restore(LIMIT.get());
    LIMIT.set(LIMIT.get().min(threads.max(1)));
    f()
}

/// Runs `task(0)`, ..., `task(tasks - 1)`, each once, and returns when all are done.
///
/// They run in no given order. Inside a task, or while another thread has the team, they run one after the
/// other on the calling thread. If a task panics, the tasks that nobody has begun are left out, those under
/// way are waited for, and the panic goes on in the caller.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let sum = AtomicUsize::new(0);
/// taper_kernels::threads::run(5, |task| {
///     sum.fetch_add(task, Ordering::Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 0 + 1 + 2 + 3 + 4);
/// ```
pub fn run(tasks: usize, task: impl Fn(usize) + Sync) {
    #[cfg(not(target_family = "wasm"))]
    if tasks > 1 {
        let threads = count();
        if threads > 1 {
            return team::global(available()).run(threads, tasks, &task);
        }
    }
    (0..tasks).for_each(task);
}

/// The same as [`run`], with each task given its own part of what it writes.
///
/// ```
/// use taper_kernels::threads::{self, Chunks};
///
/// let mut squares = [0; 5];
/// let mut sums = [0; 3];
/// threads::each(3, (Chunks::new(&mut squares, 2), Chunks::new(&mut sums, 1)), |task, (squares, sum)| {
///     for (i, square) in squares.iter_mut().enumerate() {
///         *square = (2 * task + i).pow(2);
///     }
///     sum[0] = squares.iter().sum();
/// });
/// assert_eq!(squares, [0, 1, 4, 9, 16]);
/// assert_eq!(sums, [1, 13, 16]);
/// ```
pub fn each<P: Parts>(tasks: usize, parts: P, task: impl Fn(usize, P::Part) + Sync) {
    run(tasks, |index| {
        // SAFETY: `run` runs each index once, and the parts were moved in here, so that nobody else asks.
        let part = unsafe { parts.part(index) };
        task(index, part);
    });
}

/// How many threads this process uses.
#[cfg(not(target_family = "wasm"))]
fn available() -> usize {
    static AVAILABLE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        configured(|name| std::env::var(name).ok())
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
            .min(team::MOST)
    })
}

/// How many threads this process uses.
#[cfg(target_family = "wasm")]
fn available() -> usize {
    1
}

/// The number of threads that the environment asks for.
#[cfg(not(target_family = "wasm"))]
fn configured(variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    ["TAPER_NUM_THREADS", "RAYON_NUM_THREADS"]
        .into_iter()
        .filter_map(|name| variable(name)?.trim().parse().ok())
        .find(|&threads| threads > 0)
}

#[cfg(test)]
mod tests {
    use std::panic;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[cfg(not(target_family = "wasm"))]
    #[test]
    fn the_environment_is_asked_in_order() {
        let threads = |taper: Option<&str>, rayon: Option<&str>| {
            configured(|name| match name {
                "TAPER_NUM_THREADS" => taper.map(String::from),
                "RAYON_NUM_THREADS" => rayon.map(String::from),
                _ => None,
            })
        };
        assert_eq!(threads(Some("3"), Some("5")), Some(3));
        assert_eq!(threads(Some(" 3 "), None), Some(3));
        assert_eq!(threads(None, Some("5")), Some(5));
        for none in ["", "0", "-1", "many", "1.5"] {
            assert_eq!(threads(Some(none), Some("5")), Some(5), "{none}");
            assert_eq!(threads(None, Some(none)), None, "{none}");
        }
    }

    #[test]
    fn limits_get_tighter_only() {
        let all = count();
        assert!(all >= 1);
        assert_eq!(limit(0, count), 1);
        assert_eq!(limit(usize::MAX, count), all);
        assert_eq!(limit(1, || limit(2, count)), 1);
        assert_eq!(limit(2, || (limit(1, count), count())), (1, all.min(2)));
        let _ = panic::catch_unwind(|| limit(1, || panic::resume_unwind(Box::new(()))));
        assert_eq!(count(), all);
    }

    /// Numbers that depend on which task wrote what.
    fn written(tasks: usize, size: usize, length: usize) -> Vec<usize> {
        let mut data = vec![usize::MAX; length];
        each(tasks, Chunks::new(&mut data, size), |task, data| {
            for (i, value) in data.iter_mut().enumerate() {
                *value = task * 1000 + i;
            }
        });
        data
    }

    #[test]
    fn any_number_of_threads_writes_the_same() {
        for (tasks, size, length) in [(1, 5, 5), (9, 7, 60), (12, 7, 60), (5, 7, 60), (0, 7, 60)] {
            let expected: Vec<_> = (0..length)
                .map(|i| if i / size < tasks { i / size * 1000 + i % size } else { usize::MAX })
                .collect();
            for threads in 1..=8 {
                assert_eq!(limit(threads, || written(tasks, size, length)), expected, "{threads}");
            }
        }
    }

    #[test]
    fn inside_a_task_all_is_on_one_thread() {
        let all = count();
        let sum = AtomicUsize::new(0);
        run(20, |task| {
            assert_eq!(count(), 1);
            assert_eq!(limit(8, count), 1);
            run(task, |inner| {
                run(2, |_| {
                    sum.fetch_add(inner, Ordering::Relaxed);
                });
            });
        });
        assert_eq!(sum.into_inner(), (0..20).map(|task| (0..task).sum::<usize>() * 2).sum());
        assert_eq!(count(), all);
    }

    #[test]
    fn panics_reach_the_caller() {
        for threads in [1, 8] {
            let run = || {
                limit(threads, || {
                    run(9, |task| {
                        if task == 5 {
                            panic::resume_unwind(Box::new(task));
                        }
                    })
                })
            };
            let payload = panic::catch_unwind(run).unwrap_err();
            assert_eq!(payload.downcast_ref(), Some(&5_usize));
            assert_eq!(limit(threads, || written(9, 7, 60)), limit(1, || written(9, 7, 60)));
        }
    }
}
