//! One comparison of one partition with one node, after which the other one holds what the primary holds, and the
//! primary has what the other one had of its own.
//!
//! ```text
//! hashes -- it holds nothing ------------------------------------------> all of it is pushed -> over
//!    '----- range by range that differs: list -> pull and merge -> renew -> bury -> push
//!                                          ^                                         |
//!                                          '-----------------------------------------'-------> over
//! ```
//!
//! One thing after the other, but for records that are pushed: of those [`PUSHES_MAX`] are on their way at once.
//! Meanwhile the node that joins takes every write as replicas do, so whatever arrives twice or late changes
//! nothing. When anything fails the comparison is over; the next one finds what was sent in its place.

use std::collections::VecDeque;

use karst_cluster::fabric::{
    Ack, DIGESTS_MAX, Fetch, Kind, ListRange, Listed, Malformed, OfPartition, records,
};
use karst_data::key::Digest;
use karst_data::mutation::{Mutation, is_planted};

use super::Cut;
use super::adopt::Adopt;
use super::answer::{read_hashes, sound};
use super::duty::Task;
use crate::namespace::Namespace;
use crate::reconcile::{Difference, How, difference};

/// Records that are on their way at once.
pub const PUSHES_MAX: usize = 64;

/// Digests that are asked for at once.
const FETCH_AT_ONCE: usize = 256;

const _: () = assert!(FETCH_AT_ONCE <= DIGESTS_MAX);

/// A question to the other node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// What its ranges hash to, and how much it holds.
    Hashes,
    /// What a range holds.
    List(u8),
    /// Whole records.
    Fetch(Vec<Digest>),
}

impl Question {
    /// Of which kind its message is.
    pub fn kind(&self) -> Kind {
        match self {
            Question::Hashes => Kind::Hashes,
            Question::List(_) => Kind::List,
            Question::Fetch(_) => Kind::Fetch,
        }
    }

    /// Appends the message, about a partition.
    pub fn put(&self, of: OfPartition<'_>, out: &mut Vec<u8>) {
        match self {
            Question::Hashes => of.put(out),
            Question::List(range) => ListRange { of, range: *range }.put(out),
            Question::Fetch(digests) => {
                let digests = digests.clone();
                Fetch { of, digests }.put(out);
            }
        }
    }
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the other node, and tell what it [`replies`](Comparison::replied), or that it
    /// [does not](Comparison::failed).
    Ask(Question),
    /// Make this write, bring it to everybody who is to have it, and tell [when that is done](Comparison::adopted).
    Adopt(Adopt),
    /// Send the other node a record as it is here by now, and tell [when it has it](Comparison::pushed).
    Push(Digest),
    /// Nothing, until something of that is done.
    Wait,
    /// It is over.
    Over(Result<(), Cut>),
}

/// See [the module](self).
#[derive(Debug)]
pub struct Comparison {
    task: Task,
    phase: Phase,
    /// Ranges that differ and were not looked at yet.
    ranges: VecDeque<u8>,
    /// Records to be fetched and merged.
    pull: Vec<Digest>,
    /// Of those, what is being fetched.
    fetching: Vec<Digest>,
    /// Records that were fetched.
    merges: VecDeque<Adopt>,
    /// What follows the merges of a range.
    renewals: VecDeque<Adopt>,
    push: VecDeque<Digest>,
    /// Records on their way.
    pushing: usize,
    /// Why no more are sent.
    cut: Option<Cut>,
    /// Writes that somebody had missed when it began.
    missed: u64,
    /// Both hold the same.
    alike: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Beginning,
    AskedForHashes,
    AskedForList(u8),
    AskedForRecords,
    Adopting,
    /// Something may be begun.
    Free,
    Over(Result<(), Cut>),
}

impl Comparison {
    /// One that is about to begin.
    pub fn new(task: Task, engine: &Namespace) -> Comparison {
        Comparison {
            task,
            phase: Phase::Beginning,
            ranges: VecDeque::new(),
            pull: Vec::new(),
            fetching: Vec::new(),
            merges: VecDeque::new(),
            renewals: VecDeque::new(),
            push: VecDeque::new(),
            pushing: 0,
            cut: None,
            missed: engine.missed(task.partition),
            alike: false,
        }
    }

    /// Notes what a comparison that has come to its end says of a strongly consistent partition.
    ///
    /// # Errors
    /// When the node has missed a write meanwhile.
    pub fn conclude(&self, engine: &Namespace) -> Result<(), Cut> {
        let Task {
            partition,
            regime,
            node,
            how,
            ..
        } = self.task;
        if !engine.config().strong {
            return Ok(());
        }
        if how == How::Fence {
            engine.has_fenced(partition, regime.0, node, self.alike);
            return Ok(());
        }
        match engine.has_filled(partition, regime.0, node, self.missed) {
            true => Ok(()),
            false => Err(Cut::Later),
        }
    }

    /// What is compared with whom.
    pub fn task(&self) -> Task {
        self.task
    }

    /// What to do now. To be asked until it is to wait, or it is over.
    pub fn go_on(&mut self) -> Next {
        match self.phase {
            Phase::Beginning
                if self.task.how == How::Merge && is_planted(Mutation::SkipsWhoIsApart) =>
            {
                self.end(Ok(()))
            }
            Phase::Beginning => self.ask(Phase::AskedForHashes, Question::Hashes),
            Phase::AskedForHashes
            | Phase::AskedForList(_)
            | Phase::AskedForRecords
            | Phase::Adopting => Next::Wait,
            Phase::Free => self.begin_something(),
            Phase::Over(outcome) => Next::Over(outcome),
        }
    }

    fn begin_something(&mut self) -> Next {
        if let Some(merge) = self.merges.pop_front() {
            return self.adopt(merge);
        }
        if self.fetching.is_empty() && !self.pull.is_empty() {
            let count = self.pull.len().min(FETCH_AT_ONCE);
            self.fetching = self.pull.drain(..count).collect();
        }
        if !self.fetching.is_empty() {
            let question = Question::Fetch(self.fetching.clone());
            return self.ask(Phase::AskedForRecords, question);
        }
        if let Some(renewal) = self.renewals.pop_front() {
            return self.adopt(renewal);
        }
        if let Some(cut) = self.cut.filter(|_| self.pushing == 0) {
            return self.end(Err(cut));
        }
        if self.pushing < PUSHES_MAX
            && self.cut.is_none()
            && let Some(digest) = self.push.pop_front()
        {
            self.pushing += 1;
            return Next::Push(digest);
        }
        if self.pushing > 0 {
            return Next::Wait;
        }
        match self.ranges.pop_front() {
            Some(range) => self.ask(Phase::AskedForList(range), Question::List(range)),
            None => self.end(Ok(())),
        }
    }

    fn ask(&mut self, phase: Phase, question: Question) -> Next {
        self.phase = phase;
        Next::Ask(question)
    }

    fn adopt(&mut self, adopt: Adopt) -> Next {
        self.phase = Phase::Adopting;
        Next::Adopt(adopt)
    }

    fn end(&mut self, outcome: Result<(), Cut>) -> Next {
        self.phase = Phase::Over(outcome);
        Next::Over(outcome)
    }

    /// The other node has answered a question.
    pub fn replied(&mut self, engine: &Namespace, payload: &[u8]) {
        let understood = match self.phase {
            Phase::AskedForHashes => self.heard_hashes(engine, payload),
            Phase::AskedForList(range) => self.heard_list(engine, range, payload),
            Phase::AskedForRecords => self.heard_records(payload),
            Phase::Beginning | Phase::Adopting | Phase::Free | Phase::Over(_) => return,
        };
        self.phase = match understood {
            Ok(()) => Phase::Free,
            Err(Malformed(_)) => Phase::Over(Err(Cut::Later)),
        };
    }

    /// A question was refused.
    pub fn refused(&mut self, ack: Ack) {
        self.failed(Cut::of(ack));
    }

    /// A question was not answered.
    pub fn failed(&mut self, cut: Cut) {
        self.phase = Phase::Over(Err(cut));
    }

    /// A write has been made and brought to everybody, or has not.
    pub fn adopted(&mut self, outcome: Result<(), Cut>) {
        self.phase = match outcome {
            Ok(()) => Phase::Free,
            Err(cut) => Phase::Over(Err(cut)),
        };
    }

    /// One of the records that are on their way is there, or is not.
    pub fn pushed(&mut self, outcome: Result<(), Cut>) {
        self.pushing -= 1;
        if let Err(cut) = outcome {
            self.cut.get_or_insert(cut);
        }
    }

    fn heard_hashes(&mut self, engine: &Namespace, payload: &[u8]) -> Result<(), Malformed> {
        let (theirs, count) = read_hashes(payload)?;
        if count == 0 {
            // It has nothing: there is nothing to compare.
            if self.task.follows {
                self.push = engine.digests_of(self.task.partition).into();
            }
            self.alike = engine.partition_counts(self.task.partition) == (0, 0);
            return Ok(());
        }
        let mine = engine.range_hashes(self.task.partition);
        let ranges = mine.iter().zip(&theirs).enumerate();
        let different = ranges.filter(|(_, (mine, theirs))| mine != theirs);
        self.ranges = different.map(|(range, _)| range as u8).collect();
        self.alike = self.ranges.is_empty();
        Ok(())
    }

    fn heard_list(
        &mut self,
        engine: &Namespace,
        range: u8,
        payload: &[u8],
    ) -> Result<(), Malformed> {
        let theirs = Listed::read_all(payload)?;
        let mine = engine.range_entries(self.task.partition, range);
        let Difference {
            push,
            renew,
            pull,
            bury,
        } = difference(&mine, &theirs, self.task.how, engine.config().strong);
        self.pull = pull;
        if self.task.follows {
            let renew = renew.into_iter();
            let renew = renew.map(|(digest, theirs)| Adopt::Renew { digest, theirs });
            self.renewals = renew.chain(bury.into_iter().map(Adopt::Bury)).collect();
            self.push = push.into();
        }
        Ok(())
    }

    fn heard_records(&mut self, payload: &[u8]) -> Result<(), Malformed> {
        let mut last = None;
        for image in records(payload)? {
            let record = sound(image, self.task.partition)?;
            last = Some(record.meta.digest);
            let image = image.to_vec();
            self.merges.push_back(match self.task.how {
                How::Fence => Adopt::Keep(image),
                How::Merge | How::Impose => Adopt::Merge(image),
            });
        }
        // What is missing of those before the last is gone there; those behind it did not fit.
        let at = last.and_then(|last| self.fetching.iter().position(|it| *it == last));
        match at {
            Some(at) => _ = self.fetching.drain(..=at),
            None => self.fetching.clear(),
        }
        Ok(())
    }
}
