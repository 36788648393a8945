//! How a namespace came up, and how far it is while it does.
//!
//! Written by recovery, read by the log's progress lines, `karst status` and the metrics. The way it
//! came up stays to be seen for as long as the node lives.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use karst_io::clock;
use parking_lot::Mutex;

/// What recovery is at. A phase that is not needed is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Its turn has not come.
    Waiting = 0,
    /// Index and write buffers that a process before left in shared memory are taken over.
    Attach = 1,
    /// The front of a checkpoint is read and compared with the devices.
    Checkpoint = 2,
    /// The header of every block is read.
    Headers = 3,
    /// Entries of a checkpoint are put into the index.
    Load = 4,
    /// Blocks are read and their records put into the index.
    Scan = 5,
    /// It is there.
    Ready = 6,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Phase; 7] = [
        Phase::Waiting,
        Phase::Attach,
        Phase::Checkpoint,
        Phase::Headers,
        Phase::Load,
        Phase::Scan,
        Phase::Ready,
    ];

    /// As logs, tools and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Attach => "attach",
            Phase::Checkpoint => "checkpoint",
            Phase::Headers => "headers",
            Phase::Load => "load",
            Phase::Scan => "scan",
            Phase::Ready => "ready",
        }
    }
}

/// How a namespace came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// There was nothing to recover: the engine is memory, or the devices are new.
    Empty,
    /// From shared memory.
    Warm,
    /// From a checkpoint and the blocks that were written after it.
    Checkpoint,
    /// From all blocks.
    Scan,
}

impl Way {
    /// As logs, tools and metrics spell it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Empty => "empty",
            Way::Warm => "warm",
            Way::Checkpoint => "checkpoint",
            Way::Scan => "scan",
        }
    }
}

/// How it came up.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which way.
    pub way: Way,
    /// Why not a faster one; empty when there is none.
    pub why: String,
}

/// What was found on the way.
#[derive(Debug, Default)]
pub struct Tally {
    /// Blocks whose records were walked.
    pub blocks_scanned: AtomicU64,
    /// Records found in them, every version counted.
    pub records_scanned: AtomicU64,
    /// Entries of a checkpoint that were taken over.
    pub entries_loaded: AtomicU64,
    /// Damaged records that were durable once, and of which no newer version is sound.
    pub damaged_records: AtomicU64,
    /// Damaged stretches of blocks that were wholly durable once: nothing of what was there is known.
    pub rotten_stretches: AtomicU64,
    /// Damage that the stop itself may have left, or an earlier fill: nothing acknowledged is lost.
    pub torn_or_stale: AtomicU64,
    /// Blocks of failed devices that cannot be read.
    pub unreadable_blocks: AtomicU64,
    /// Blocks whose header is damaged and that are left out.
    pub damaged_headers: AtomicU64,
    /// Blocks whose header is damaged, and which are known all the same.
    pub replaced_headers: AtomicU64,
}

/// See [the module](self).
#[derive(Debug)]
pub struct Restart {
    phase: AtomicU8,
    began_us: AtomicU64,
    phase_began_us: AtomicU64,
    ended_us: AtomicU64,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    took_us: Mutex<[u64; Phase::ALL.len()]>,
    outcome: OnceLock<Outcome>,
    /// What was found so far.
    pub tally: Tally,
}

/// A moment of a [`Restart`].
#[derive(Clone, Debug)]
pub struct Moment {
    /// The phase it is in.
    pub phase: Phase,
    /// Bytes of the phase that are done.
    pub done_bytes: u64,
    /// Bytes of the phase in all; 0 when unknown.
    pub total_bytes: u64,
    /// Bytes done each second of the phase.
    pub bytes_per_s: f64,
    /// Records and entries put into the index so far.
    pub records: u64,
    /// Until the phase is over at the present rate.
    pub eta_s: Option<f64>,
    /// Since it began, or what it took.
    pub seconds: f64,
    /// What each phase has taken, those left out not named.
    pub phases: Vec<(Phase, f64)>,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart {
            phase: AtomicU8::new(Phase::Waiting as u8),
            began_us: AtomicU64::new(0),
            phase_began_us: AtomicU64::new(0),
            ended_us: AtomicU64::new(0),
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
            took_us: Mutex::default(),
            outcome: OnceLock::new(),
            tally: Tally::default(),
        }
    }
}

impl Restart {
    /// The phase it is in.
    pub fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// Goes on to a phase of so many bytes, 0 for unknown.
    pub fn begin(&self, phase: Phase, total_bytes: u64) {
        let now_us = clock::boot_us();
        let before = self.phase();
        if before == Phase::Waiting {
            self.began_us.store(now_us, Ordering::Release);
        } else {
            let since = now_us - self.phase_began_us.load(Ordering::Acquire);
            self.took_us.lock()[before as usize] += since;
        }
        self.phase_began_us.store(now_us, Ordering::Release);
        self.done_bytes.store(0, Ordering::Release);
        self.total_bytes.store(total_bytes, Ordering::Release);
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Notes bytes of the present phase as done.
    pub fn advance(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It came up.
    pub fn end(&self, outcome: Outcome) {
        self.begin(Phase::Ready, 0);
        self.ended_us.store(clock::boot_us(), Ordering::Release);
        let _ = self.outcome.set(outcome); // it comes up once
    }

    /// How it came up, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    /// How far it is now.
    pub fn moment(&self) -> Moment {
        let now_us = clock::boot_us();
        let since = |start: &AtomicU64| now_us.saturating_sub(start.load(Ordering::Acquire));
        let phase = self.phase();
        let (done_bytes, total_bytes) = (
            self.done_bytes.load(Ordering::Relaxed),
            self.total_bytes.load(Ordering::Acquire),
        );
        let phase_s = (since(&self.phase_began_us) as f64 / 1e6).max(1e-6);
        let bytes_per_s = done_bytes as f64 / phase_s;
        let left = total_bytes.saturating_sub(done_bytes) as f64;
        let seconds = match (phase, self.began_us.load(Ordering::Acquire)) {
            (Phase::Waiting, _) => 0.0,
            (Phase::Ready, began) => (self.ended_us.load(Ordering::Acquire) - began) as f64 / 1e6,
            (_, began) => (now_us - began) as f64 / 1e6,
        };
        let took_us = *self.took_us.lock();
        let took = |phase: Phase| (phase, took_us[phase as usize] as f64 / 1e6);
        Moment {
            phase,
            done_bytes,
            total_bytes,
            bytes_per_s,
            records: self.tally.records_scanned.load(Ordering::Relaxed)
                + self.tally.entries_loaded.load(Ordering::Relaxed),
            eta_s: (done_bytes > 0 && total_bytes > 0).then(|| left / bytes_per_s),
            seconds,
            phases: Phase::ALL
                .into_iter()
                .map(took)
                .filter(|(_, seconds)| *seconds > 0.0)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_tells_how_far_it_is_and_remembers_how_it_came_up() {
        let restart = Restart::default();
        assert_eq!(restart.moment().phase, Phase::Waiting);
        restart.begin(Phase::Headers, 100);
        restart.advance(100);
        restart.begin(Phase::Scan, 1000);
        restart.advance(250);
        let moment = restart.moment();
        assert_eq!((moment.done_bytes, moment.total_bytes), (250, 1000));
        let eta_s = moment.eta_s.expect("some of it is done");
        assert!((eta_s * moment.bytes_per_s - 750.0).abs() < 1.0);
        assert_eq!(restart.outcome(), None);
        let outcome = Outcome {
            way: Way::Scan,
            why: "there is no checkpoint".into(),
        };
        restart.end(outcome.clone());
        assert_eq!(restart.outcome(), Some(&outcome));
        let moment = restart.moment();
        assert_eq!((moment.phase, moment.eta_s), (Phase::Ready, None));
        assert!(moment.phases.iter().all(|(phase, _)| *phase < Phase::Ready));
    }
}
