//! What clients ask next. `official.py` draws by the same table; a change here belongs there too.
//!
//! | number modulo 4 | the record is | asked of it |
//! |---|---|---|
//! | 0 | a number that is written | read, write and read, delete; after a read perhaps a write over the generation that was read |
//! | 1 | a number that is added to | read, add 1 and read, delete |
//! | 2 | text that is appended to | read, append and read, delete |
//! | 3 | a number that is created | read, create, delete |

use std::sync::atomic::{AtomicU64, Ordering};

use karst_tests::linear::{Action, Expect, Operation, Outcome, operation::now_ns};
use rand::Rng;
use rand::rngs::StdRng;

/// Records.
pub(crate) const KEYS: i64 = 240;

/// The first so many of them are asked for by one request of three.
const HOT_KEYS: i64 = 16;

/// Numbers of one client's writes: each is written once, by nobody else.
const NUMBERS: i64 = 10_000_000;

/// How long a record is mostly left alone after a request for it came to nothing.
const SILENT_NS: u64 = 500_000_000;

/// How often another record is drawn instead of one that is left alone.
const DRAWS: u32 = 8;

/// Records of which requests came to nothing a moment ago. Somebody asks for them all the same, but not everybody: while a
/// part of them is not served the others are asked for as often as before.
pub(crate) struct Silent(Vec<AtomicU64>);

impl Silent {
    pub(crate) fn new() -> Silent {
        let none = (0..KEYS).map(|_| AtomicU64::new(0));
        Silent(none.collect())
    }

    fn until_ns(&self, key: i64) -> &AtomicU64 {
        &self.0[key as usize]
    }

    fn note(&self, key: i64) {
        let until_ns = now_ns() + SILENT_NS;
        self.until_ns(key).store(until_ns, Ordering::Relaxed);
    }

    fn has(&self, key: i64) -> bool {
        self.until_ns(key).load(Ordering::Relaxed) > now_ns()
    }
}

/// One client's next requests.
pub(crate) struct Plan {
    client: u32,
    rng: StdRng,
    turn: i64,
    /// A record just read, and its generation.
    read: Option<(i64, u16)>,
}

impl Plan {
    pub(crate) fn new(client: u32, rng: StdRng) -> Plan {
        Plan {
            client,
            rng,
            turn: 0,
            read: None,
        }
    }

    /// Whether something with this chance is to happen.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// The next record and what to ask of it.
    pub(crate) fn next(&mut self, silent: &Silent) -> (i64, Action) {
        self.turn += 1;
        let unique = i64::from(self.client) * NUMBERS + self.turn;
        if let Some((key, generation)) = self.read.take()
            && self.chance(60)
        {
            let expect = Expect::Generation(generation);
            let value = unique;
            return (key, Action::Write { value, expect });
        }
        let mut key = self.key();
        for _ in 1..DRAWS {
            if silent.has(key) {
                key = self.key();
            }
        }
        (key, self.action(key, unique))
    }

    fn key(&mut self) -> i64 {
        match self.rng.random_range(0..3) {
            0 => self.rng.random_range(0..HOT_KEYS),
            _ => self.rng.random_range(0..KEYS),
        }
    }

    fn action(&mut self, key: i64, unique: i64) -> Action {
        let write = |expect| Action::Write {
            value: unique,
            expect,
        };
        match (key % 4, self.rng.random_range(0..100)) {
            (_, 0..40) => Action::Read,
            (0, 40..45) | (1, 40..42) | (2, 40..46) | (3, 40..60) => Action::Delete,
            (0, _) => write(Expect::Any),
            (1, _) => Action::Add { amount: 1 },
            (2, _) => Action::Append { element: unique },
            (_, _) => write(Expect::Absent),
        }
    }

    /// Remembers what was read for the next write, and what came to nothing.
    pub(crate) fn told(&mut self, operation: &Operation, silent: &Silent) {
        if matches!(operation.outcome, Outcome::Failed | Outcome::InDoubt) {
            silent.note(operation.key);
        }
        if operation.key % 4 == 0
            && operation.action == Action::Read
            && let Outcome::Told(seen) = &operation.outcome
        {
            self.read = Some((operation.key, seen.generation));
        }
    }
}
