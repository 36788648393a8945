//! A partition's part of a secondary index: which records have a value, in the order of (value, digest).
//!
//! ```text
//! Ordered --> run | run | run ...     each up to 128 items, in order; every item of a run before all of the next
//!              |
//!              item: value 8 | digest 20 | stamp 4
//! ```
//!
//! A run is as large as what it holds and at most some items more, so that an item costs little more than its
//! 32 bytes, whatever order they came in. Digests are kept in full: the order, and with it where a query goes on,
//! is the same at every node, and the primary index finds a record by nothing less.
//!
//! An item carries the *stamp* of the write that it was made by. Whoever changes a record puts all of its values
//! anew, and need not know those that it had: what bears another stamp than the record is left over. It is passed
//! over by queries and taken out by who comes along ([`Ordered::retain`]).
//!
//! Inserting moves at most one run, and now and then the list of runs, which is 24 bytes for some 90 items.

mod run;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use karst_data::key::Digest;

use self::run::Run;
use crate::place::Version;

/// Where an item stands.
pub type Position = (i64, Digest);

/// Tells the writes of a record apart: two of the same stamp are 2^32 writes of the partition apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u32);

impl Stamp {
    /// Of the write that made a version.
    pub fn of(version: Version) -> Stamp {
        Stamp(version.sequence as u32)
    }
}

/// A record that had a value when it was written last, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Item {
    /// The value, or what stands for it.
    pub value: i64,
    /// The record.
    pub digest: Digest,
    /// The write.
    pub stamp: Stamp,
}

const _: () = assert!(size_of::<Item>() == 32);

impl Item {
    /// Where it stands.
    pub fn position(&self) -> Position {
        (self.value, self.digest)
    }
}

/// See [the module](self).
#[derive(Debug, Default)]
pub struct Ordered {
    /// None is empty.
    runs: Vec<Run>,
    len: usize,
    /// Memory of the runs in bytes.
    run_bytes: usize,
}

impl Ordered {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory in bytes, what is held ready included.
    pub fn memory_bytes(&self) -> usize {
        self.run_bytes + self.runs.capacity() * size_of::<Run>()
    }

    /// The run in which a position is, or would be.
    fn run_of(&self, position: &Position) -> usize {
        let behind = self.runs.partition_point(|run| run.first() <= *position);
        behind.saturating_sub(1)
    }

    /// Puts an item in, in the place of one that stands there. Whether there was none.
    pub fn put(&mut self, item: Item) -> bool {
        if self.runs.is_empty() {
            self.add_run(0, Run::of(item));
            self.len = 1;
            return true;
        }
        let at = self.run_of(&item.position());
        let index = match self.runs[at].find(&item.position()) {
            Ok(index) => {
                self.runs[at].set_stamp(index, item.stamp);
                return false;
            }
            Err(index) => index,
        };
        self.len += 1;
        let is_last = at + 1 == self.runs.len();
        if !self.runs[at].is_full() {
            self.change(at, |run| run.insert(index, item));
        } else if is_last && index == self.runs[at].len() {
            self.add_run(at + 1, Run::of(item)); // values that rise fill one run after the other
        } else {
            let mut upper = self.change(at, Run::split);
            match index.checked_sub(self.runs[at].len()) {
                Some(index) if index > 0 => upper.insert(index, item),
                _ => self.change(at, |run| run.insert(index, item)),
            }
            self.add_run(at + 1, upper);
        }
        true
    }

    /// Takes an item out, if it bears this stamp.
    pub fn remove(&mut self, position: &Position, stamp: Stamp) -> bool {
        if self.runs.is_empty() {
            return false;
        }
        let at = self.run_of(position);
        let run = &self.runs[at];
        let Some(index) = run
            .find(position)
            .ok()
            .filter(|it| run.items()[*it].stamp == stamp)
        else {
            return false;
        };
        self.change(at, |run| run.remove(index));
        self.len -= 1;
        self.tidy(at);
        true
    }

    /// Lets a run go that is empty, and joins one that is small with the next.
    fn tidy(&mut self, at: usize) {
        if self.runs[at].len() == 0 {
            self.take_run(at);
        } else if let Some(next) = self.runs.get(at + 1)
            && self.runs[at].may_join(next)
        {
            self.join_next(at);
        }
        if self.runs.capacity() > 2 * self.runs.len() + 4 {
            self.runs.shrink_to_fit();
        }
    }

    fn add_run(&mut self, at: usize, run: Run) {
        self.run_bytes += run.memory_bytes();
        self.runs.insert(at, run);
    }

    fn take_run(&mut self, at: usize) -> Run {
        let run = self.runs.remove(at);
        self.run_bytes -= run.memory_bytes();
        run
    }

    /// Changes a run, and keeps count of its memory.
    fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut Run) -> R) -> R {
        let run = &mut self.runs[at];
        self.run_bytes -= run.memory_bytes();
        let changed = change(run);
        self.run_bytes += run.memory_bytes();
        changed
    }

    fn join_next(&mut self, at: usize) {
        let next = self.take_run(at + 1);
        self.change(at, |run| run.join(&next));
    }

    /// Visits items in order, from a value on or from behind a position, until `visit` breaks.
    pub fn walk(&self, from: From, visit: &mut dyn FnMut(&Item) -> ControlFlow<()>) {
        let Some((at, index)) = self.seek(from) else {
            return;
        };
        let first = &self.runs[at].items()[index..];
        let others = self.runs[at + 1..].iter().map(Run::items);
        for item in std::iter::once(first).chain(others).flatten() {
            if visit(item).is_break() {
                return;
            }
        }
    }

    fn seek(&self, from: From) -> Option<(usize, usize)> {
        if self.runs.is_empty() {
            return None;
        }
        let (position, behind) = match from {
            From::Value(value) => ((value, Digest([0; Digest::BYTES])), false),
            From::Behind(position) => (position, true),
        };
        let at = self.run_of(&position);
        let index = match self.runs[at].find(&position) {
            Ok(index) => index + usize::from(behind),
            Err(index) => index,
        };
        Some((at, index))
    }

    /// Takes out those of the next items behind a position that `keep` does not want, and returns the position
    /// of the last one looked at, or `None` when that was the last of all. Looks at `items_max` or some more, up to
    /// the end of their run.
    pub fn retain(
        &mut self,
        behind: Option<Position>,
        items_max: usize,
        keep: &mut dyn FnMut(&Item) -> bool,
    ) -> Option<Position> {
        let done = |run: &Run| behind.is_some_and(|behind| run.last() <= behind);
        let mut at = self.runs.partition_point(done);
        let (mut looked_at, mut last) = (0, None);
        while looked_at < items_max {
            let run = self.runs.get(at)?;
            let before = run.len();
            last = Some(run.last());
            self.change(at, |run| run.retain(keep));
            let len = self.runs[at].len();
            self.len -= before - len;
            looked_at += before;
            if len == 0 {
                self.take_run(at);
            } else if at > 0 && self.runs[at - 1].may_join(&self.runs[at]) {
                self.join_next(at - 1);
            } else {
                at += 1;
            }
        }
        last.filter(|_| at < self.runs.len())
    }
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the first item of this value or a greater one.
    Value(i64),
    /// Behind this position, whether or not there is an item.
    Behind(Position),
}
