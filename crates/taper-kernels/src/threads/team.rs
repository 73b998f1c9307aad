//! The team: threads that wait for the next fork-join, first awake, then asleep.
//!
//! One word, `state`, says whether a job is open and how many workers are in it. A worker may read the job,
//! which lies on the caller's stack, only between joining (a compare-and-swap that fails once the job is
//! closed) and leaving. The caller closes the job when no task is left to begin and waits until those
//! who joined have left. So it never waits for a worker that the system has not scheduled yet.
//!
//! Each member has a range of the tasks as its own, always the same for the same number of tasks, so that
//! what one kernel left in a core's cache is where the next one looks for it. Who is done takes from the
//! others.

use std::any::Any;
use std::hint;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};

/// How many times a worker looks for a job before it sleeps, and a caller for its workers to be done. A turn
/// is a `pause` instruction, some 15 to 45 nanoseconds. That is about what it costs to wake a thread, so that
/// waiting awake at worst doubles the price. (Few under Miri, which is slow and should see the sleep as well.)
const TURNS: usize = if cfg!(miri) { 5 } else { 2500 };

/// After how many turns the processor is offered to other threads. Where they all have one, this costs
/// nothing; where not, a worker that was woken on its caller's processor would keep the caller from working.
const YIELD: usize = 128;

/// The most threads in a team.
pub(super) const MOST: usize = 1 << 12;

/// The lower bits of the state: how many workers are in the job.
const JOINED: usize = MOST - 1;
/// The job may be joined.
const OPEN: usize = MOST;
/// The caller sleeps until the last worker has left.
const WAITING: usize = OPEN << 1;
/// The bits from here up count the jobs, so that a worker does not join one twice. They may overflow: then a
/// worker may miss one job.
const JOB: usize = WAITING << 1;

/// The team of this process, started on first use.
pub(super) fn global(threads: usize) -> &'static Team {
    static TEAM: OnceLock<&Team> = OnceLock::new();
    TEAM.get_or_init(|| Team::start(threads))
}

/// Threads that wait for jobs.
pub(super) struct Team {
    gate: Apart<Gate>,
    desk: Apart<Desk>,
    /// For each member, the next task of its range.
    next: Box<[Apart<AtomicUsize>]>,
    workers: Box<[Worker]>,
    /// How many workers do not sleep.
    awake: Apart<AtomicUsize>,
    /// Where a caller sleeps until the last worker has left.
    door: Mutex<()>,
    left: Condvar,
}

/// What a worker looks at to join a job.
#[derive(Default)]
struct Gate {
    state: AtomicUsize,
    /// How many workers may be in the open job.
    seats: AtomicUsize,
    /// The open job. Whoever has joined it may read it.
    job: AtomicPtr<Job<'static>>,
}

/// Where callers line up.
#[derive(Default)]
struct Desk {
    /// Whether a caller has the team.
    taken: AtomicBool,
    /// How many threads are in `run`, those that did not get the team included.
    callers: AtomicUsize,
}

/// Where a worker sleeps.
#[derive(Default)]
struct Worker {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// One call of `run`.
struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    tasks: usize,
    members: usize,
    panics: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// A value with cache lines of its own (two, as processors fetch them in pairs).
#[repr(align(128))]
#[derive(Default)]
struct Apart<T>(T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Job<'_> {
    /// The first task of a member's range.
    fn start(&self, member: usize) -> usize {
        let (each, more) = (self.tasks / self.members, self.tasks % self.members);
        member * each + member.min(more)
    }
}

impl Team {
    /// Starts a team of `threads` threads, the caller among them. It is never ended.
    fn start(threads: usize) -> &'static Self {
        let team: &'static Self = Box::leak(Box::new(Self::new(threads)));
        for index in 0..team.workers.len() {
            // Where the system grants no thread, the team does without it.
            let _ = thread::Builder::new()
                .name(format!("taper-{}", index + 1))
                .spawn(move || team.serve(index));
        }
        team
    }

    /// A team whose workers have not come yet.
    fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, MOST);
        Self {
            gate: Apart::default(),
            desk: Apart::default(),
            next: (0..threads).map(|_| Apart::default()).collect(),
            workers: (1..threads).map(|_| Worker::default()).collect(),
            awake: Apart::default(),
            door: Mutex::new(()),
            left: Condvar::new(),
        }
    }

    /// Runs the tasks on at most `threads` threads, the caller among them.
    pub(super) fn run(&self, threads: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // Threads that call at the same time have a processor each already: workers fill up what is left.
        let caller = Caller::new(&self.desk.callers);
        let free = (self.workers.len() + 1).saturating_sub(caller.others);
        let members = threads.min(tasks).min(free);
        if members < 2 || self.desk.taken.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(task);
        }
        let job = Job { task, tasks, members, panics: Mutex::default() };
        self.open(&job);
        super::limit(1, || self.work(&job, 0));
        self.close();
        self.desk.taken.store(false, Ordering::Release);
        drop(caller);
        let mut panics = job.panics.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !panics.is_empty() {
            let first = panics.swap_remove(0);
            drop(panics);
            panic::resume_unwind(first);
        }
    }

    /// Lets workers join the job.
    fn open(&self, job: &Job) {
        for member in 0..job.members {
            self.next[member].store(job.start(member), Ordering::Relaxed);
        }
        self.gate.seats.store(job.members - 1, Ordering::Relaxed);
        self.gate.job.store(ptr::from_ref(job).cast_mut().cast(), Ordering::Relaxed);
        let last = self.gate.state.load(Ordering::Relaxed) & !(JOB - 1);
        // What stands above is seen by whoever sees this. In the one order of all `SeqCst` operations either
        // this comes before a worker's last look at the state, or the worker is seen asleep in `wake`.
        self.gate.state.store(last.wrapping_add(JOB) | OPEN, Ordering::SeqCst);
        self.wake(job.members - 1);
    }

    /// Lets no more workers join, and waits until those who have are done.
    fn close(&self) {
        let mut state = self.gate.state.fetch_and(!OPEN, Ordering::Acquire);
        for turn in 0..TURNS {
            if state & JOINED == 0 {
                return;
            }
            pause(turn);
            state = self.gate.state.load(Ordering::Acquire);
        }
        let mut door = lock(&self.door);
        state = self.gate.state.fetch_or(WAITING, Ordering::Acquire);
        while state & JOINED != 0 {
            door = self.left.wait(door).unwrap_or_else(PoisonError::into_inner);
            state = self.gate.state.load(Ordering::Acquire);
        }
    }

    /// What a worker does all its life.
    fn serve(&self, index: usize) {
        let _ = self.workers[index].thread.set(thread::current());
        self.awake.fetch_add(1, Ordering::SeqCst);
        super::limit(1, || {
            let mut seen = 0;
            loop {
                seen = self.wait(index, seen);
                self.join(index, seen);
            }
        });
    }

    /// Waits for a job after the one of the state `seen`, and returns the state with it.
    fn wait(&self, index: usize, seen: usize) -> usize {
        let news = |state: usize| state & OPEN != 0 && state & !(JOB - 1) != seen & !(JOB - 1);
        loop {
            for turn in 0..TURNS {
                let state = self.gate.state.load(Ordering::Acquire);
                if news(state) {
                    return state;
                }
                pause(turn);
            }
            let worker = &self.workers[index];
            worker.asleep.store(true, Ordering::SeqCst);
            self.awake.fetch_sub(1, Ordering::SeqCst);
            let late = news(self.gate.state.load(Ordering::SeqCst));
            if late && worker.asleep.swap(false, Ordering::SeqCst) {
                self.awake.fetch_add(1, Ordering::SeqCst);
            }
            while worker.asleep.load(Ordering::Acquire) {
                thread::park();
            }
        }
    }

    /// Joins the job of the state `seen` if it is still open and has a seat, and works in it.
    fn join(&self, index: usize, seen: usize) {
        let seats = self.gate.seats.load(Ordering::Relaxed);
        let mut state = seen;
        loop {
            if (state ^ seen) & !JOINED != 0 || state & JOINED >= seats {
                return;
            }
            let (won, lost) = (Ordering::Acquire, Ordering::Relaxed);
            match self.gate.state.compare_exchange_weak(state, state + 1, won, lost) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        self.wake(seats);
        // SAFETY: the job was open while this worker joined, so its caller has not left `close`, and will not
        // before this worker has left. The pointer was stored before the job was opened.
        let job = unsafe { &*self.gate.job.load(Ordering::Relaxed) };
        self.work(job, (index + 1) % job.members);
        let state = self.gate.state.fetch_sub(1, Ordering::Release);
        if state & WAITING != 0 && state & JOINED == 1 {
            // The caller is at its last look at the state, or sleeps: it holds the lock in between.
            drop(lock(&self.door));
            self.left.notify_one();
        }
    }

    /// Wakes workers as long as fewer are awake than have a seat: two, each of whom will wake two more.
    fn wake(&self, seats: usize) {
        for _ in 0..2 {
            if self.awake.load(Ordering::SeqCst) >= seats {
                return;
            }
            let sleeper = self.workers.iter().find(|worker| {
                worker.asleep.load(Ordering::SeqCst) && worker.asleep.swap(false, Ordering::SeqCst)
            });
            let Some(worker) = sleeper else { return };
            self.awake.fetch_add(1, Ordering::SeqCst);
            if let Some(thread) = worker.thread.get() {
                thread.unpark();
            }
        }
    }

    /// Runs tasks until none is left to begin: those of `member`'s range, then those of the others.
    fn work(&self, job: &Job, member: usize) {
        let done = panic::catch_unwind(AssertUnwindSafe(|| {
            for turn in 0..job.members {
                let member = (member + turn) % job.members;
                let (next, end) = (&self.next[member], job.start(member + 1));
                // Looking first leaves a range that is done in the cache of its owner.
                while next.load(Ordering::Relaxed) < end {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index < end {
                        (job.task)(index);
                    }
                }
            }
        }));
        if let Err(payload) = done {
            for next in &self.next[..job.members] {
                next.store(job.tasks, Ordering::Relaxed);
            }
            // Dropping a payload could panic again: that is left to the caller, when all is done.
            lock(&job.panics).push(payload);
        }
    }
}

/// One turn of waiting.
fn pause(turn: usize) {
    if turn % YIELD == YIELD - 1 {
        thread::yield_now();
    } else {
        hint::spin_loop();
    }
}

/// A thread that is in `run`.
struct Caller<'a> {
    callers: &'a AtomicUsize,
    others: usize,
}

impl<'a> Caller<'a> {
    fn new(callers: &'a AtomicUsize) -> Self {
        Self { callers, others: callers.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The lock, also after a panic: nothing that the locks here guard can be half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread::ThreadId;
    use std::time::Duration;

    use super::*;

    /// How often what may go wrong is tried.
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 1000 };

    /// Runs the tasks and says how often each ran.
    fn counts(team: &Team, threads: usize, tasks: usize) -> Vec<usize> {
        let counts: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        team.run(threads, tasks, &|task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    /// Panics without a message on the screen.
    fn fail(value: usize) {
        panic::resume_unwind(Box::new(value));
    }

    /// What `run` panicked with.
    fn caught(run: impl FnOnce()) -> Option<usize> {
        let payload = panic::catch_unwind(AssertUnwindSafe(run)).err()?;
        payload.downcast_ref().copied()
    }

    #[test]
    fn each_task_runs_once() {
        for threads in [2, 3, 8] {
            let team = Team::start(threads);
            for tasks in (0..ROUNDS.min(40)).chain([127, ROUNDS]) {
                for limit in 1..=threads {
                    assert_eq!(counts(team, limit, tasks), vec![1; tasks], "{threads} {limit}");
                }
            }
        }
    }

    #[test]
    fn a_caller_does_without_workers_that_do_not_come() {
        assert_eq!(counts(&Team::new(4), 4, 10), vec![1; 10]);
        assert_eq!(counts(&Team::new(1), 4, 10), vec![1; 10]);
    }

    #[test]
    fn the_ranges_cover_the_tasks() {
        for (tasks, members) in [(2, 2), (7, 3), (8, 3), (9, 3), (1000, 7)] {
            let job = Job { task: &|_| {}, tasks, members, panics: Mutex::default() };
            assert_eq!((job.start(0), job.start(members)), (0, tasks));
            let sizes = (0..members).map(|member| job.start(member + 1) - job.start(member));
            assert!(sizes.into_iter().all(|size| size.abs_diff(tasks / members) <= 1));
        }
    }

    // Tasks that wait for each other end only if as many threads are in them at the same time.
    #[test]
    fn all_threads_work_also_when_woken() {
        let team = Team::start(8);
        for _ in 0..3 {
            let all = Barrier::new(8);
            team.run(8, 8, &|_| {
                all.wait();
            });
            while team.awake.load(Ordering::SeqCst) > 0 {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_caller_sleeps_until_the_workers_are_done() {
        let team = Team::start(3);
        let caller = thread::current().id();
        for _ in 0..10 {
            let (all, done) = (Barrier::new(3), AtomicUsize::new(0));
            team.run(3, 3, &|_| {
                all.wait();
                if thread::current().id() != caller {
                    thread::sleep(Duration::from_millis(2));
                }
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 3);
        }
    }

    #[test]
    fn no_more_threads_than_asked_for() {
        let team = Team::start(8);
        for limit in 1..=8 {
            let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
            team.run(limit, ROUNDS, &|_| {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::yield_now();
                inside.fetch_sub(1, Ordering::SeqCst);
            });
            assert!((1..=limit).contains(&most.into_inner()));
        }
    }

    #[test]
    fn who_finds_the_team_taken_works_alone() {
        let team = Team::start(2);
        let (inside, outside) = (Barrier::new(3), Barrier::new(3));
        thread::scope(|scope| {
            scope.spawn(|| {
                team.run(2, 2, &|_| {
                    inside.wait();
                    outside.wait();
                });
            });
            inside.wait();
            let threads: Mutex<Vec<ThreadId>> = Mutex::default();
            team.run(2, 5, &|_| lock(&threads).push(thread::current().id()));
            assert_eq!(*lock(&threads), [thread::current().id(); 5]);
            outside.wait();
        });
        assert_eq!(team.desk.callers.load(Ordering::SeqCst), 0);
        assert!(!team.desk.taken.load(Ordering::SeqCst));
    }

    #[test]
    fn workers_fill_up_what_other_callers_leave() {
        let team = Team::start(3);
        let _other = Caller::new(&team.desk.callers);
        let _another = Caller::new(&team.desk.callers);
        let threads: Mutex<Vec<ThreadId>> = Mutex::default();
        team.run(3, 5, &|_| lock(&threads).push(thread::current().id()));
        assert_eq!(*lock(&threads), [thread::current().id(); 5]);
    }

    #[test]
    fn many_callers_at_once() {
        let team = Team::start(3);
        thread::scope(|scope| {
            for caller in 0..6 {
                scope.spawn(move || {
                    for turn in 0..ROUNDS {
                        let tasks = (caller * 7 + turn) % 23;
                        assert_eq!(counts(team, 3, tasks), vec![1; tasks]);
                    }
                });
            }
        });
    }

    #[test]
    fn panics_go_to_the_caller_and_leave_the_team_usable() {
        let team = Team::start(3);
        for round in 0..ROUNDS {
            // A different task each time, and in every fourth round all of them.
            let run = || {
                team.run(3, 9, &|task| {
                    if task == round % 9 || round % 4 == 0 {
                        fail(round);
                    }
                })
            };
            assert_eq!(caught(run), Some(round));
        }
        assert_eq!(counts(team, 3, 100), vec![1; 100]);
    }

    #[test]
    fn panics_of_callers_and_of_workers() {
        let team = Team::start(2);
        let caller = thread::current().id();
        for of_caller in [true, false] {
            let both = Barrier::new(2);
            let run = || {
                team.run(2, 2, &|_| {
                    both.wait();
                    if of_caller == (thread::current().id() == caller) {
                        fail(7);
                    }
                })
            };
            assert_eq!(caught(run), Some(7));
        }
        // Where the team is taken, and the tasks run on the caller.
        team.desk.taken.store(true, Ordering::SeqCst);
        assert_eq!(caught(|| team.run(2, 2, &fail)), Some(0));
        team.desk.taken.store(false, Ordering::SeqCst);
        assert_eq!(counts(team, 2, 9), vec![1; 9]);
    }

    #[test]
    fn tasks_after_a_panic_are_left_out() {
        let team = Team::start(2);
        let ran = AtomicUsize::new(0);
        let run = || {
            team.run(2, 1_000_000, &|_| {
                ran.fetch_add(1, Ordering::Relaxed);
                fail(1);
            })
        };
        assert_eq!(caught(run), Some(1));
        assert!(ran.into_inner() <= 2);
    }
}
