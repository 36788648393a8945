//! Writing one record: whole values, operations in order, touch, delete.
//!
//! A write looks the record up, checks what it demands of it, applies its operations to a copy of the
//! bins, appends the result to the log and only then changes the index: whatever is refused was not
//! applied, in any part. A record whose last bin goes is deleted.

use karst_data::bin::{BinRef, Bins};
use karst_data::expr::{Filter, Metadata, Verdict};
use karst_data::flat::{Draft, Meta, Record};
use karst_data::key::Digest;
use karst_data::mutation::{Mutation, is_planted};
use karst_data::operation::{self, Answer, CommandFlags, Operation, Setting};
use karst_data::policy::{Exists, GenerationRule, next_generation};
use karst_data::time::{Now, Ttl, is_expired};
use karst_data::work::{Exhausted, Work};
use karst_storage::index::{Entry, Flags, InsertError, NewEntry};
use karst_storage::log::{Appended, CommitPoint, LaneId, NoSpace, Purpose};
use karst_storage::place::{Place, Version};
use karst_storage::tombstone::Cover;

use crate::error::{Reason, Refusal};
use crate::namespace::{Bytes, Fetched, Namespace, Partition, Step, stores_key};

/// A write.
#[derive(Clone, Copy, Debug)]
pub struct WriteRequest<'a> {
    /// The record.
    pub digest: Digest,
    /// The set it is to be in; empty for none.
    pub set: &'a [u8],
    /// The key to compare and store, type byte first.
    pub key: Option<&'a [u8]>,
    /// Which state of the record is accepted.
    pub exists: Exists,
    /// Which generation is accepted.
    pub generation: GenerationRule,
    /// The record's life after the write.
    pub ttl: Ttl,
    /// Flags that decide which operations may come together.
    pub flags: CommandFlags,
    /// The operations in order.
    pub operations: &'a [Operation<'a>],
    /// What a record has to be like that is there already, if that matters.
    pub filter: Option<&'a Filter>,
}

/// What a write was made from: it takes place only if that still stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Basis {
    /// The record's version; `None` if there was no record.
    pub version: Option<[u8; 10]>,
    /// The stored key goes.
    pub drops_key: bool,
}

/// A delete.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRequest<'a> {
    /// The record.
    pub digest: Digest,
    /// The set that the writer believes it to be in; empty if it does not say.
    pub set: &'a [u8],
    /// The key, type byte first, to be compared with a stored one.
    pub key: Option<&'a [u8]>,
    /// Which generation is accepted.
    pub generation: GenerationRule,
    /// What the record has to be like, if that matters.
    pub filter: Option<&'a Filter>,
}

/// What a write did.
#[derive(Clone, Debug)]
pub struct Written<'a> {
    /// The record's generation now; 0 if it is gone.
    pub generation: u16,
    /// Its void time now; 0 if it is gone or does not expire.
    pub void_time_s: u32,
    /// Answers of the operations in order.
    pub answers: &'a [Answer<'a>],
    /// When the write is on the device; `None` if nothing had to be written.
    pub commit: Option<CommitPoint>,
    /// The record as it is now, or the tombstone, for other nodes: in stored form, plain, its checksums
    /// not filled in. `None` unless the writer asked for it, or if nothing changed.
    pub image: Option<Vec<u8>>,
    /// Its version, if it is to be confirmed before anybody is told of it, and settled in the end.
    pub in_flight: Option<Version>,
}

/// Who writes, when.
#[derive(Clone, Copy, Debug)]
pub struct Hand {
    /// The lane to append to.
    pub lane: LaneId,
    /// The time of the write.
    pub now: Now,
    /// The same moment on the clock by which blocks are flushed, in ms.
    pub flush_clock_ms: u64,
    /// The regime of the map by which this node was found to be the one to write.
    pub regime: u32,
    /// Whether other nodes are to have the record too: then its image is made, and a delete is remembered
    /// in memory as well as on devices.
    pub replicated: bool,
}

/// Why a write cannot be carried out now.
pub(crate) enum Halt {
    Refuse(Refusal),
    Read(karst_storage::log::DeviceRead),
    Wait,
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Halt {
        Halt::Refuse(refusal)
    }
}

impl From<Reason> for Halt {
    fn from(reason: Reason) -> Halt {
        Halt::Refuse(reason.into())
    }
}

/// A record as the index had it before the write.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// The entry, alive or not: its place is released when the write succeeds.
    pub(crate) entry: NewEntry,
    pub(crate) alive: bool,
}

impl Before {
    fn refuse(&self, reason: Reason) -> Refusal {
        if !self.alive {
            return reason.into();
        }
        Refusal {
            reason,
            generation: self.entry.generation,
            void_time_s: self.entry.void_time_s,
        }
    }
}

impl Namespace {
    /// Writes a record. `answer` is called exactly once if the step is [`Step::Done`], else not at all.
    pub fn write<R>(
        &self,
        hand: &Hand,
        request: &WriteRequest<'_>,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        self.write_within(hand, request, &Work::at_once(), fetched, answer)
    }

    /// The same with work that the caller lends to filter and operations.
    pub fn write_within<R>(
        &self,
        hand: &Hand,
        request: &WriteRequest<'_>,
        work: &Work,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        self.write_on(hand, request, (None, work), fetched, answer)
    }

    /// Writes a record if it is still what the write was made from; [`Reason::Overtaken`] if it is not.
    pub fn write_over<R>(
        &self,
        hand: &Hand,
        request: &WriteRequest<'_>,
        basis: &Basis,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        let work = Work::at_once();
        self.write_on(hand, request, (Some(basis), &work), fetched, answer)
    }

    fn write_on<R>(
        &self,
        hand: &Hand,
        request: &WriteRequest<'_>,
        (basis, work): (Option<&Basis>, &Work),
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        if let Err(reason) = self.admit(request) {
            return Step::Done(answer(Err(reason.into())));
        }
        let mut partition = self.partition_of(&request.digest);
        let looked = partition
            .reigns(hand, self.config().strong)
            .and_then(|()| self.stands(&partition, hand.now, &request.digest, basis))
            .and_then(|()| self.look_for_write(&partition, hand.now, request, work, fetched));
        let (before, bytes) = match looked {
            Ok(looked) => looked,
            Err(halt) => {
                let halt = self.if_confirmed(&mut partition, &request.digest, halt);
                return halt.end(answer);
            }
        };
        let drops_key = basis.is_some_and(|basis| basis.drops_key);
        let found = (before, bytes.as_ref());
        let written = self.carry_out(&mut partition, hand, request, work, found, drops_key);
        let written =
            written.map_err(|halt| self.if_confirmed(&mut partition, &request.digest, halt));
        drop(partition);
        match written {
            Ok(outcome) => Step::Done(answer(Ok(Written {
                generation: outcome.generation,
                void_time_s: outcome.void_time_s,
                answers: &outcome.answers,
                commit: outcome.stored.commit,
                image: outcome.stored.image,
                in_flight: outcome.stored.in_flight,
            }))),
            Err(halt) => halt.end(answer),
        }
    }

    /// Checks that the record is what a write was made from, if it was made from anything.
    fn stands(
        &self,
        partition: &Partition,
        now: Now,
        digest: &Digest,
        basis: Option<&Basis>,
    ) -> Result<(), Halt> {
        let Some(basis) = basis else {
            return Ok(()); // nearly always
        };
        let entry = partition.directory.get(digest);
        let alive = entry.filter(|entry| self.is_alive(entry, now));
        let version = alive.map(|entry| entry.to_new().version.pack());
        match basis.version == version {
            true => Ok(()),
            false => Err(Reason::Overtaken.into()),
        }
    }

    /// A refusal tells what the record is like: nobody is told that before it is confirmed.
    fn if_confirmed(&self, partition: &mut Partition, digest: &Digest, halt: Halt) -> Halt {
        match halt {
            Halt::Refuse(_) if partition.tenure.is_unconfirmed(digest) => Halt::Wait,
            halt => halt,
        }
    }

    /// Checks what the request demands of the record, in the order that clients rely on, and gets
    /// hold of its bytes if the write needs them.
    fn look_for_write<'f>(
        &self,
        partition: &Partition,
        now: Now,
        request: &WriteRequest<'_>,
        work: &Work,
        fetched: Option<&'f Fetched>,
    ) -> Result<(Option<Before>, Option<Bytes<'f>>), Halt> {
        operation::check(request.operations, request.flags).map_err(Reason::from)?;
        let entry = partition.directory.get(&request.digest);
        let alive = entry.filter(|entry| self.is_alive(entry, now));
        let before = entry.map(|entry| Before {
            entry: entry.to_new(),
            alive: alive.is_some(),
        });
        let touches = || request.operations.contains(&Operation::Touch);
        let Some(alive) = alive else {
            if matches!(request.exists, Exists::UpdateOnly | Exists::ReplaceOnly) || touches() {
                return Err(Reason::NotFound.into());
            }
            if !request.generation.accepts(0) {
                return Err(Reason::Generation.into());
            }
            check_key(request.key)?;
            return Ok((before, None));
        };
        let refuse = |reason| Halt::Refuse(Refusal::met(alive, reason));
        if request.exists == Exists::CreateOnly {
            return Err(refuse(Reason::Exists));
        }
        if !request.generation.accepts(alive.generation()) {
            return Err(refuse(Reason::Generation));
        }
        if self.sets.find(request.set) != Some(alive.set_id()) {
            return Err(refuse(Reason::SetMismatch));
        }
        let verdict = self.sift(request.filter, alive, now, work);
        let verdict = verdict.map_err(|exhausted| refuse(exhausted.into()))?;
        if verdict == Verdict::FilteredOut {
            return Err(refuse(Reason::FilteredOut));
        }
        if request.exists.replaces() && !stores_key(alive) && verdict == Verdict::Passes {
            check_key(request.key)?;
            return Ok((before, None));
        }
        let bytes = self.bytes(alive.place(), fetched).map_err(Halt::Read)?;
        Ok((before, Some(bytes)))
    }

    /// Reads the record that a write builds on, asks the request's filter, and compares the keys.
    fn record_for_write<'b>(
        &self,
        partition: &Partition,
        now: Now,
        request: &WriteRequest<'_>,
        work: &Work,
        bytes: &'b Bytes<'_>,
    ) -> Result<Record<'b>, Halt> {
        let entry = partition.directory.get(&request.digest);
        let entry = entry.expect("the partition is locked since the entry was found");
        let refuse = |reason| Halt::Refuse(Refusal::met(entry, reason));
        let record = self.checked(bytes, entry).map_err(refuse)?;
        let passes = self.passes(request.filter, entry, &record, now, work);
        if !passes.map_err(|exhausted| refuse(exhausted.into()))? {
            return Err(refuse(Reason::FilteredOut));
        }
        match (request.key, record.key) {
            (Some(sent), Some(stored)) if sent != stored => {
                return Err(refuse(Reason::KeyMismatch));
            }
            (sent, None) => check_key(sent)?,
            (_, Some(_)) => {}
        }
        Ok(record)
    }

    /// Applies the operations and puts the outcome into log and index.
    fn carry_out<'a>(
        &self,
        partition: &mut Partition,
        hand: &Hand,
        request: &WriteRequest<'a>,
        work: &Work,
        (before, bytes): (Option<Before>, Option<&'a Bytes<'_>>),
        drops_key: bool,
    ) -> Result<Outcome<'a>, Halt> {
        let refuse = |reason: Reason| {
            Halt::Refuse(before.map_or_else(|| reason.into(), |before| before.refuse(reason)))
        };
        let record = match bytes {
            Some(bytes) => Some(self.record_for_write(partition, hand.now, request, work, bytes)?),
            None => None,
        };
        let old_bins = match &record {
            Some(record) if !request.exists.replaces() => record.bins().collect(),
            Some(_) | None => Bins::default(),
        };
        let alive = before.filter(|before| before.alive);
        let key = record.as_ref().and_then(|record| record.key);
        let setting = Setting {
            respond_all: request.flags.respond_all,
            writes: true,
            metadata: self.told(hand.now, request, alive, key.is_some()),
            key,
        };
        let applied = operation::apply(old_bins, request.operations, &setting, work)
            .map_err(|error| refuse(error.into()))?;
        if applied.bins.is_empty() {
            if alive.is_none() {
                return Err(Reason::NotFound.into());
            }
            let stored = self.bury(partition, hand, &request.digest)?;
            return Ok(Outcome {
                generation: 0,
                void_time_s: 0,
                answers: applied.answers,
                stored,
            });
        }
        let set_id = match alive {
            Some(alive) => alive.entry.set_id,
            None => self
                .sets
                .find_or_make(request.set)
                .map_err(|_| Reason::SetLimit)?,
        };
        self.admit_to_set(set_id, alive.is_none()).map_err(refuse)?;
        let meta = self.next_meta(partition, hand, request, before, set_id);
        let old_values = self.old_values(partition, before.as_ref(), record.as_ref(), hand.now);
        let key = request
            .key
            .or_else(|| record.as_ref().and_then(|record| record.key))
            .filter(|_| !drops_key);
        let draft = Draft {
            meta,
            set: request.set,
            key,
            bins: applied.bins.iter(),
        };
        let stored = self
            .store(partition, hand, &draft, set_id, before)
            .map_err(|halt| match halt {
                Halt::Refuse(refusal) => refuse(refusal.reason),
                other => other,
            })?;
        partition.take_out(&request.digest, old_values);
        Ok(Outcome {
            generation: meta.generation,
            void_time_s: meta.void_time_s,
            answers: applied.answers,
            stored,
        })
    }

    /// What expressions are told of the record that a write meets; of one that it creates, little.
    fn told<'a>(
        &self,
        now: Now,
        request: &WriteRequest<'a>,
        alive: Option<Before>,
        stores_key: bool,
    ) -> Metadata<'a> {
        match alive {
            Some(before) => self.metadata_of(&before.entry, stores_key, request.set, now),
            None => Metadata {
                digest: request.digest,
                set: request.set,
                stores_key: false,
                tombstone: false,
                void_time_s: 0,
                update_time_ms: 0,
                size_bytes: 0,
                in_memory: !self.log.config().on_devices,
                now,
            },
        }
    }

    /// The facts of the record after a write.
    fn next_meta(
        &self,
        partition: &Partition,
        hand: &Hand,
        request: &WriteRequest<'_>,
        before: Option<Before>,
        set_id: u16,
    ) -> Meta {
        let alive = before.filter(|before| before.alive);
        let void_time = alive.map(|alive| alive.entry.void_time_s);
        // The update time never goes back for a record, nor behind a mark that it has to survive.
        let not_before = before.map_or(0, |before| before.entry.update_time_ms);
        let update_time_ms = hand
            .now
            .epoch_ms()
            .max(not_before)
            .max(self.uncovered_from_ms(set_id));
        Meta {
            digest: request.digest,
            generation: next_generation(alive.map_or(0, |alive| alive.entry.generation)),
            void_time_s: self.void_time_after(request.ttl, void_time, set_id, hand.now),
            update_time_ms,
            version: partition.upcoming_version().pack(),
            tombstone: false,
            over_tombstone: before
                .is_some_and(|before| self.is_over_tombstone(&before, set_id, hand.now)),
            moves: 0,
        }
    }

    /// Whether what is written over this keeps older versions from coming back that a truncation of it
    /// need not cover: see [`Flags::OVER_TOMBSTONE`]. What was dead without a tombstone counts as one. What a
    /// truncation covers does not, unless it is in another set: the next one covers what lies below as well.
    pub(crate) fn is_over_tombstone(&self, before: &Before, set_id: u16, now: Now) -> bool {
        let entry = &before.entry;
        let dead = || {
            is_expired(entry.void_time_s, now)
                || self.is_evicted(entry.void_time_s, entry.update_time_ms, entry.set_id)
        };
        let is_over = entry.is_tombstone()
            || entry.flags.contains(Flags::OVER_TOMBSTONE)
            || entry.set_id != set_id
            || (!before.alive && dead());
        is_over && !is_planted(Mutation::TruncatesOverTombstones)
    }

    /// Appends a record and points the index at it.
    pub(crate) fn store<'b, B>(
        &self,
        partition: &mut Partition,
        hand: &Hand,
        draft: &Draft<'_, B>,
        set_id: u16,
        before: Option<Before>,
    ) -> Result<Stored, Halt>
    where
        B: Iterator<Item = BinRef<'b>> + Clone,
    {
        let size_bytes = draft.size_bytes();
        let bytes_max = self
            .config()
            .record_bytes_max
            .min(self.log.record_bytes_max());
        if size_bytes > bytes_max && !draft.meta.tombstone {
            return Err(Reason::TooBig {
                size_bytes,
                bytes_max,
            }
            .into());
        }
        if before.is_none() {
            // Before the append: what a device holds comes back at the next start, refused or not.
            let reserved = partition.directory.reserve();
            reserved.map_err(|_| Reason::IndexFull)?;
        }
        let purpose = if draft.meta.tombstone {
            Purpose::Tombstone
        } else {
            Purpose::Record
        };
        // First: a number that may be on a device is never given out again, wherever this ends.
        let sequence = Version::unpack(draft.meta.version).sequence;
        partition.not_before(sequence);
        let (floor, now_ms) = (partition.floor, hand.flush_clock_ms);
        let Appended { place, commit } = self
            .log
            .append_record(hand.lane, purpose, floor, draft, now_ms)
            .map_err(|no_space| match no_space {
                NoSpace::Wait => Halt::Wait,
                NoSpace::Full => Reason::OutOfSpace.into(),
                NoSpace::Failed => Reason::DeviceFailed.into(),
                NoSpace::TooBig { size_bytes } => Reason::TooBig {
                    size_bytes,
                    bytes_max,
                }
                .into(),
            })?;
        let entry = new_entry(&draft.meta, draft.key.is_some(), set_id, place);
        if !self.point_at(partition, &entry, before) {
            self.log.release(place);
            return Err(Reason::IndexFull.into());
        }
        self.put_in_sindexes(partition, &entry, draft, before.as_ref(), hand.now);
        let image = hand.replicated.then(|| draft.image());
        Ok(Stored {
            commit: Some(commit),
            image,
            in_flight: partition.tenure.begin(entry.digest, entry.version),
        })
    }

    /// Makes the index say what the log now holds. `false` when a new record finds no room.
    fn point_at(&self, partition: &mut Partition, new: &NewEntry, before: Option<Before>) -> bool {
        match before {
            None => match partition.directory.insert(new) {
                Ok(_) => {}
                Err(InsertError::PartitionFull | InsertError::ArenaFull(_)) => return false,
                Err(InsertError::AlreadyPresent) => unreachable!("the lookup found no entry"),
            },
            Some(before) => {
                let entry = partition.directory.get_mut(&new.digest);
                entry.expect("the lookup found an entry").rewrite(new);
                self.uncount(partition, &before.entry);
                self.log.release(before.entry.place);
            }
        }
        self.count(partition, new);
        true
    }

    /// Counts an entry that came.
    pub(crate) fn count(&self, partition: &mut Partition, entry: &NewEntry) {
        let tombstone = entry.flags.contains(Flags::TOMBSTONE);
        partition.comes(entry);
        let bytes = entry.place.length.bytes() as i64;
        self.sets.with(entry.set_id, |set| {
            set.count(i64::from(!tombstone), i64::from(tombstone), bytes);
        });
    }

    /// Uncounts an entry that goes.
    pub(crate) fn uncount(&self, partition: &mut Partition, entry: &NewEntry) {
        let tombstone = entry.flags.contains(Flags::TOMBSTONE);
        partition.goes(entry);
        let bytes = entry.place.length.bytes() as i64;
        self.sets.with(entry.set_id, |set| {
            set.count(-i64::from(!tombstone), -i64::from(tombstone), -bytes);
        });
    }

    /// Deletes a record. `answer` is called exactly once if the step is [`Step::Done`]. A filter that takes long is
    /// [`Reason::Exhausted`].
    pub fn delete<R>(
        &self,
        hand: &Hand,
        request: &DeleteRequest<'_>,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        self.delete_within(hand, request, &Work::at_once(), fetched, answer)
    }

    /// The same with work that the caller lends to the filter.
    pub fn delete_within<R>(
        &self,
        hand: &Hand,
        request: &DeleteRequest<'_>,
        work: &Work,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        self.delete_on(hand, request, (None, work), fetched, answer)
    }

    /// Deletes a record if it is still what a filter has let pass; [`Reason::Overtaken`] if it is not.
    pub fn delete_over<R>(
        &self,
        hand: &Hand,
        request: &DeleteRequest<'_>,
        basis: &Basis,
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        let work = Work::at_once();
        self.delete_on(hand, request, (Some(basis), &work), fetched, answer)
    }

    fn delete_on<R>(
        &self,
        hand: &Hand,
        request: &DeleteRequest<'_>,
        (basis, work): (Option<&Basis>, &Work),
        fetched: Option<&Fetched>,
        answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R,
    ) -> Step<R> {
        let mut partition = self.partition_of(&request.digest);
        let deleted = partition
            .reigns(hand, self.config().strong)
            .and_then(|()| self.stands(&partition, hand.now, &request.digest, basis))
            .and_then(|()| self.look_for_delete(&partition, hand.now, request, work, fetched))
            .and_then(|()| self.bury(&mut partition, hand, &request.digest));
        let deleted =
            deleted.map_err(|halt| self.if_confirmed(&mut partition, &request.digest, halt));
        drop(partition);
        match deleted {
            Ok(stored) => Step::Done(answer(Ok(Written {
                generation: 0,
                void_time_s: 0,
                answers: &[],
                commit: stored.commit,
                image: stored.image,
                in_flight: stored.in_flight,
            }))),
            Err(halt) => halt.end(answer),
        }
    }

    fn look_for_delete(
        &self,
        partition: &Partition,
        now: Now,
        request: &DeleteRequest<'_>,
        work: &Work,
        fetched: Option<&Fetched>,
    ) -> Result<(), Halt> {
        let entry = partition.directory.get(&request.digest);
        let Some(entry) = entry.filter(|entry| self.is_alive(entry, now)) else {
            return Err(Reason::NotFound.into());
        };
        let refuse = |reason| Halt::Refuse(Refusal::met(entry, reason));
        if !self.is_in(entry, request.set) {
            return Err(refuse(Reason::SetMismatch));
        }
        if !request.generation.accepts(entry.generation()) {
            return Err(refuse(Reason::Generation));
        }
        let exhausted = |exhausted: Exhausted| refuse(exhausted.into());
        let verdict = self.sift(request.filter, entry, now, work);
        let verdict = verdict.map_err(exhausted)?;
        if verdict == Verdict::FilteredOut {
            return Err(refuse(Reason::FilteredOut));
        }
        let key = request.key.filter(|_| stores_key(entry));
        if key.is_none() && verdict == Verdict::Passes {
            return Ok(());
        }
        let bytes = self.bytes(entry.place(), fetched).map_err(Halt::Read)?;
        let record = self.checked(&bytes, entry).map_err(refuse)?;
        if verdict == Verdict::Undecided {
            let passes = self.passes(request.filter, entry, &record, now, work);
            if !passes.map_err(exhausted)? {
                return Err(refuse(Reason::FilteredOut));
            }
        }
        if let (Some(sent), Some(stored)) = (key, record.key)
            && sent != stored
        {
            return Err(refuse(Reason::KeyMismatch));
        }
        Ok(())
    }

    /// Puts a tombstone in a live record's stead. In memory there is nothing that could bring the
    /// record back, so there the entry just goes, unless another node has it too.
    fn bury(
        &self,
        partition: &mut Partition,
        hand: &Hand,
        digest: &Digest,
    ) -> Result<Stored, Halt> {
        let entry = partition.directory.get(digest).map(Entry::to_new);
        let entry = entry.expect("the partition is locked since the entry was found");
        let remembers = self.log.config().on_devices || hand.replicated || self.config().strong;
        if !remembers || is_planted(Mutation::DeletesWithoutTombstone) {
            let sequence = partition.upcoming_version().sequence;
            partition.directory.set_sequence(sequence);
            partition.directory.remove(digest);
            partition.lose_from_sindexes(&entry);
            self.uncount(partition, &entry);
            self.log.release(entry.place);
            return Ok(Stored::default());
        }
        let meta = Meta::tombstone(
            *digest,
            partition.upcoming_version().pack(),
            hand.now.epoch_ms().max(entry.update_time_ms),
            self.tombstone_fill(),
        );
        let set = self.sets.get(entry.set_id);
        let draft = Draft::tombstone(meta, &set.name);
        let before = Some(Before { entry, alive: true });
        self.store(partition, hand, &draft, entry.set_id, before)
    }

    /// What a tombstone made now remembers: older copies of its record lie in fills up to this one.
    pub(crate) fn tombstone_fill(&self) -> u32 {
        Cover::up_to(self.log.fills()).0
    }
}

/// A write that succeeded.
struct Outcome<'a> {
    generation: u16,
    void_time_s: u32,
    answers: smallvec::SmallVec<[Answer<'a>; 4]>,
    stored: Stored,
}

/// What was put into the log, if anything was.
#[derive(Debug, Default)]
pub struct Stored {
    /// When it is on the device.
    pub commit: Option<CommitPoint>,
    /// The record as it is now, for other nodes, if they are to have it.
    pub image: Option<Vec<u8>>,
    /// Its version, if it is to be confirmed before anybody is told of it.
    pub in_flight: Option<Version>,
}

impl Partition {
    /// Checks that the writer goes by the map that is in force. If not it has to look again.
    fn reigns(&self, hand: &Hand, strong: bool) -> Result<(), Halt> {
        match self.is_under(hand.regime) && (!strong || self.tenure.takes_writes()) {
            true => Ok(()),
            false => Err(Halt::Wait),
        }
    }
}

impl Halt {
    fn end<R>(self, answer: impl FnOnce(Result<Written<'_>, Refusal>) -> R) -> Step<R> {
        self.step(|refusal| answer(Err(refusal)))
    }

    /// What the caller is to do; `refused` answers if it is refused.
    pub(crate) fn step<R>(self, refused: impl FnOnce(Refusal) -> R) -> Step<R> {
        match self {
            Halt::Refuse(refusal) => Step::Done(refused(refusal)),
            Halt::Read(read) => Step::Read(read),
            Halt::Wait => Step::Wait,
        }
    }
}

/// A key that is to be stored: a type byte, and for an integer exactly eight bytes more.
fn check_key(key: Option<&[u8]>) -> Result<(), Halt> {
    match key {
        None => Ok(()),
        Some([]) => Err(Reason::KeyMalformed.into()),
        Some([1, value @ ..]) if value.len() != 8 => Err(Reason::KeyMalformed.into()),
        Some(_) => Ok(()),
    }
}

/// The index entry of a record that was stored.
pub(crate) fn new_entry(meta: &Meta, stores_key: bool, set_id: u16, place: Place) -> NewEntry {
    NewEntry {
        digest: meta.digest,
        place,
        version: Version::unpack(meta.version),
        update_time_ms: meta.update_time_ms,
        void_time_s: meta.void_time_s,
        generation: meta.generation,
        set_id,
        flags: Flags::NONE
            .when(Flags::TOMBSTONE, meta.tombstone)
            .when(Flags::KEY_STORED, stores_key)
            .when(Flags::OVER_TOMBSTONE, meta.over_tombstone)
            .with_moves(meta.moves),
    }
}
