//! Many seeds on all cores. Each seed is one thread's alone; only their sum is shared.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::check::Violation;

thread_local! {
    /// What this thread is at, for who reports a panic.
    static AT: Cell<(&'static str, u64)> = const { Cell::new(("", 0)) };
}

/// A failed seed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
}

/// What came of the seeds.
pub struct Outcome<T> {
    /// Seeds that were run.
    pub seeds: u64,
    /// Their sum.
    pub sum: T,
    /// The failed ones, by seed. After the first no new seed is begun.
    pub failures: Vec<Failure>,
}

/// Runs `life` for `seeds` seeds from `first` on, for as long as `goes_on` says so, and sums up.
pub fn run<T: Default + Send>(
    what: &'static str,
    first: u64,
    seeds: u64,
    goes_on: impl Fn() -> bool + Sync,
    life: impl Fn(u64) -> Result<T, Violation> + Sync,
    add: impl Fn(&mut T, T) + Sync,
) -> Outcome<T> {
    let (next, ends) = (AtomicU64::new(first), AtomicBool::new(false));
    let outcome = Mutex::new(Outcome {
        seeds: 0,
        sum: T::default(),
        failures: Vec::new(),
    });
    let work = || {
        while !ends.load(Ordering::Relaxed) && goes_on() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= seeds {
                return;
            }
            AT.set((what, seed));
            let lived = life(seed);
            let mut outcome = outcome
                .lock()
                .expect("a thread that panics ends the process");
            outcome.seeds += 1;
            match lived {
                Ok(sum) => add(&mut outcome.sum, sum),
                Err(violation) => {
                    ends.store(true, Ordering::Relaxed);
                    outcome.failures.push(Failure { seed, violation });
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let mut outcome = outcome.into_inner().expect("no thread panicked");
    outcome.failures.sort_by_key(|failure| failure.seed);
    outcome
}

/// From now on a panic names the seed and ends the process with 1, as any other failure does: an
/// assertion of the engine is a check too.
pub fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let (what, seed) = AT.get();
        println!("seed {seed}: {what}: {panic}");
        std::process::exit(1);
    }));
}
