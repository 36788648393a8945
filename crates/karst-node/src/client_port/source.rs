//! The records that a query is about which no client resumes: in the background, or for a function over all of them.
//!
//! They are those of the partitions that this node leads when their turn comes; other nodes were asked for the others.
//! A partition that comes to this node behind its turn is left to nobody: as with the reference, whoever changes the
//! cluster meanwhile has to look at what became of the query.
//!
//! Each record is named once, in the form in which the walk or the index has it. What it is by the time it is read is
//! for the reader to ask ([`Source::look`]). An index may be of a collection that takes longer to walk over than a core may
//! be held: another thread does it then ([`long`]). Of many records that are looked at at once, each waits for a turn of
//! the core that has not lasted ([`Source::turn`]).

mod long;

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use karst_cluster::map::Role;
use karst_data::expr::Filter;
use karst_data::key::{Digest, PartitionId};
use karst_data::work::Work;
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::{Fetched, Reason, Refusal, Step};
use karst_storage::index::WalkCursor;
use karst_storage::sindex::Position;
use karst_wire::code::ResultCode;
use karst_wire::request::Message;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::call::Scene;
use super::query::{Search, region_ahead, search};
use super::single::Refused;
use crate::core::Core;
use crate::jobs::Job;
use crate::node::{self, State};

/// How often a record that moves is looked for.
const FETCHES_MAX: usize = 16;

/// Most records that a slice names.
const SLICE_RECORDS_MAX: usize = 256;

/// Partitions after which others of the core get a turn, if nothing is found in them.
const PARTITIONS_PER_TURN: usize = 64;

/// See [the module](self).
pub(super) struct Source<'a> {
    /// Position of the namespace.
    pub(super) namespace: usize,
    /// The set's name; empty for the whole namespace.
    pub(super) set: &'a [u8],
    set_id: Option<u16>,
    search: Option<Search<'a>>,
    message: Message<'a>,
    place: Place,
    /// One record at a time is looked at by the core.
    turns: Semaphore,
    /// One record at a time is looked at elsewhere.
    long: Semaphore,
}

/// What a record is to a query.
pub(super) enum Looked<T> {
    /// It is one of those that are looked for, and this was made of it.
    Wanted(T),
    /// It is not, or is not there.
    Other,
    /// The filter says no.
    FilteredOut,
    /// It cannot be read.
    Unreadable,
    /// It takes too much work to find out, or there was no room for it.
    Refused(ResultCode),
}

/// How far a source has come.
#[derive(Default)]
struct Place {
    partition: u16,
    after: Option<After>,
    /// What an index has named in the partition at hand: what is changed may come again under another value.
    named: HashSet<Digest>,
}

enum After {
    Walked(WalkCursor),
    Found(Position),
}

/// What comes next.
pub(super) enum Next {
    /// These records.
    Records(Vec<Digest>),
    /// Nothing: that was all.
    End,
    /// The index is there no more.
    IndexGone,
}

impl<'a> Source<'a> {
    /// What a request is about.
    ///
    /// # Errors
    /// The code to refuse it with.
    pub(super) async fn of(core: &Core, message: &Message<'a>) -> Result<Source<'a>, Refused> {
        let region = region_ahead(core, message).await?;
        let (namespace, state) = core
            .node
            .namespace(message.namespace()?)
            .ok_or(ResultCode::Namespace)?;
        let set = message.set()?.unwrap_or_default();
        let set_id = match set {
            [] => None,
            name => Some(state.engine.sets().find(name).ok_or(ResultCode::NotFound)?),
        };
        Ok(Source {
            namespace,
            set,
            set_id,
            search: search(state, core.counted(namespace), message, region)?,
            message: *message,
            place: Place::default(),
            turns: Semaphore::new(1),
            long: Semaphore::new(1),
        })
    }

    /// The index that is asked, if one is.
    pub(super) fn index(&self) -> Option<&str> {
        self.search.as_ref().map(Search::index_name)
    }

    /// Reads a record and tells whether it is still what is looked for; `make` is told what there is, if so.
    pub(super) async fn look<T>(
        &self,
        core: &Rc<Core>,
        digest: &Digest,
        (need, filter): (Need, Option<&Filter>),
        make: impl Fn(&Found<'_>) -> T,
    ) -> Looked<T> {
        let request = ReadRequest {
            digest: *digest,
            set: self.set,
            key: None,
            need,
            filter,
        };
        let looked = self.read(core, &request, |found, work| {
            let is_met = match found {
                Ok(found) => self
                    .is_met_by(core, digest, &found, work)
                    .map(|it| (it, found)),
                Err(refusal) => {
                    return match refusal.reason {
                        Reason::Exhausted => None,
                        Reason::FilteredOut => Some(Looked::FilteredOut),
                        Reason::NotFound | Reason::SetMismatch => Some(Looked::Other),
                        _ => Some(Looked::Unreadable),
                    };
                }
            };
            is_met.map(|(is_met, found)| match is_met {
                true => Looked::Wanted(make(&found)),
                false => Looked::Other,
            })
        });
        match looked.await {
            Some(looked) => looked,
            None => long::look(core, self, digest, make).await,
        }
    }

    /// Whether a record, as it was read, is what is looked for; `None` if that takes too much work.
    fn is_met_by(
        &self,
        core: &Core,
        digest: &Digest,
        found: &Found<'_>,
        work: &Work,
    ) -> Option<bool> {
        let Some(search) = &self.search else {
            return Some(true);
        };
        let metadata = self.scene(core, digest).metadata(found);
        let is_met = search.is_met_by(found, metadata, work);
        if work.is_exhausted() {
            return None;
        }
        self.count(core, is_met);
        Some(is_met)
    }

    /// Counts a record that an index named.
    fn count(&self, core: &Core, is_met: bool) {
        if let Some(search) = &self.search {
            search.count(is_met, core.counted(self.namespace));
        }
    }

    fn scene(&self, core: &Core, digest: &Digest) -> Scene {
        Scene::of(core, self.namespace, *digest, false)
    }

    /// Waits until others of the core have had their turn, if this one has lasted, so that records that were read at
    /// once are not looked at, or changed, at one go. One at a time passes, until it gives its leave back.
    pub(super) async fn turn(&self, core: &Core) -> Option<SemaphorePermit<'_>> {
        let turn = self.turns.acquire().await.ok(); // nobody closes it
        if core.has_lasted() {
            tokio::task::yield_now().await;
            core.begin_turn();
        }
        turn
    }

    /// Reads a record; `answer` is told what there is, and what work it may make of it, the last time it is called.
    async fn read<R>(
        &self,
        core: &Rc<Core>,
        request: &ReadRequest<'_>,
        answer: impl Fn(Result<Found<'_>, Refusal>, &Work) -> R,
    ) -> R {
        let engine = &core.namespace(self.namespace).engine;
        let mut fetched: Option<Fetched> = None;
        for _ in 0..FETCHES_MAX {
            let turn = self.turn(core).await;
            let (now, work) = (node::now(), Work::at_once());
            let told = |found: Result<Found<'_>, Refusal>| answer(found, &work);
            let step = engine.read_within(now, request, &work, fetched.as_ref(), told);
            drop(turn);
            fetched.into_iter().for_each(|it| core.done_with(it));
            match step {
                Step::Done(answered) => return answered,
                Step::Read(read) => match core.fetch(self.namespace, read).await {
                    Ok(bytes) => fetched = Some(bytes),
                    Err(_) => break,
                },
                Step::Wait => unreachable!("a read does not wait for room"),
            }
        }
        answer(Err(Reason::Unreadable.into()), &Work::at_once())
    }

    /// The next records, of as many partitions as it takes to find some.
    pub(super) async fn next(&mut self, core: &Core, job: &Job) -> Next {
        let mut empty = 0;
        while let Some(partition) = PartitionId::all().nth(usize::from(self.place.partition)) {
            if leads(core, self.namespace, partition) {
                let Some(records) = self.slice(core, partition) else {
                    return Next::IndexGone;
                };
                if self.place.after.is_none() {
                    self.leave(job);
                }
                if !records.is_empty() {
                    return Next::Records(records);
                }
            } else {
                self.leave(job);
            }
            empty += 1;
            if empty % PARTITIONS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        Next::End
    }

    fn leave(&mut self, job: &Job) {
        self.place = Place {
            partition: self.place.partition + 1,
            ..Place::default()
        };
        let done = u64::from(self.place.partition);
        let tally = &job.tally;
        (tally.partitions).store(done, std::sync::atomic::Ordering::Relaxed);
    }

    /// Some records of a partition, behind those named so far. `None` if the index has gone.
    fn slice(&mut self, core: &Core, partition: PartitionId) -> Option<Vec<Digest>> {
        let (state, now) = (core.namespace(self.namespace), node::now());
        let after = self.place.after.take();
        let Some(search) = &self.search else {
            let after = match after {
                Some(After::Walked(cursor)) => Some(cursor),
                Some(After::Found(_)) | None => None,
            };
            let engine = &state.engine;
            let slice = engine.scan_slice(partition, self.set_id, after, SLICE_RECORDS_MAX, now);
            self.place.after = slice.next.map(After::Walked);
            return Some(slice.digests);
        };
        let behind = match after {
            Some(After::Found(position)) => Some(position),
            Some(After::Walked(_)) | None => None,
        };
        let max = SLICE_RECORDS_MAX;
        let slice = search.slice(state, partition, self.set_id, behind, max, now)?;
        self.place.after = slice.next.map(After::Found);
        let digests = slice.hits.into_iter().map(|(_, digest)| digest);
        let named = &mut self.place.named;
        Some(digests.filter(|digest| named.insert(*digest)).collect())
    }
}

/// Whether this node leads a partition now.
fn leads(core: &Core, namespace: usize, partition: PartitionId) -> bool {
    let sight = core.node.sights.now();
    let share = sight.view.share(namespace, partition);
    let engine = &core.namespace(namespace).engine;
    let serves = || share.quorums.is_none() || engine.is_serving(partition, share.regime.0);
    share.role == Role::Primary && serves()
}

/// Whether a query has to end before it has done all: somebody has asked for it, or the node is about to stop.
pub(super) fn is_to_end(core: &Core, job: &Job) -> bool {
    job.is_aborted() || core.node.state() != State::Serving
}

/// Lets so many records a second pass, 0 for as many as there are.
pub(super) struct Pace {
    started: tokio::time::Instant,
    per_second: u64,
    passed: u64,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Pace {
        Pace {
            started: tokio::time::Instant::now(),
            per_second: u64::from(per_second),
            passed: 0,
        }
    }

    /// When the next record may pass; `None` for now.
    pub(super) fn pass(&mut self) -> Option<tokio::time::Instant> {
        self.passed += 1;
        let due_us = ((self.passed - 1) * 1_000_000).checked_div(self.per_second)?;
        let due = self.started + Duration::from_micros(due_us);
        (due > tokio::time::Instant::now()).then_some(due)
    }
}
