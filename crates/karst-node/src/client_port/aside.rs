//! Requests that take longer than a core may be held: their filter and operations are read and carried out on another
//! thread.
//!
//! ```text
//! attempt: more work than may be done at once, to read the request or to carry it out -> Try::Aside
//!   -> the record is read as it is -> a thread carries the request out on a copy, the core goes on
//!   -> a read: its answer is sent
//!      a write: what the bins have become is written if the record is still what was read; else all of it again
//!      a delete, a function: the filter lets the record pass, so it goes or is called with, on the same condition
//! ```
//!
//! No lock is held meanwhile. A thread has [`Work::aside`] for it; what takes more than that is refused. Threads and
//! their queue are those of functions ([`crate::udf::pool`]), and so is the way by which a write that was made
//! elsewhere takes place ([`super::udf`]): the engine checks again whatever the request demands of the record.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use karst_data::bin::Bins;
use karst_data::expr::{Filter, Metadata};
use karst_data::flat::Record;
use karst_data::key::Digest;
use karst_data::operation::{self, CommandFlags, Operation, Setting};
use karst_data::policy::Exists;
use karst_data::time::Ttl;
use karst_data::value::Value;
use karst_data::work::Work;
use karst_engine::read::{Found, Need, ReadRequest};
use karst_engine::write::{Basis, DeleteRequest, WriteRequest};
use karst_engine::{Fetched, Reason, Step};
use karst_wire::code::ResultCode;
use karst_wire::flags::{Info1, Info2};
use karst_wire::reply::RecordReply;
use karst_wire::request::{Kind, Message};
use tokio::time::Instant;

use super::call::{EXHAUSTED, Scene};
use super::single::{self, Asked, At, Refused, Try};
use super::{strong, udf};
use crate::core::Core;
use crate::counters::{Ending, Op};
use crate::udf::NotRun;

/// How often a record that moves while it is read is looked for.
const FETCHES_MAX: usize = 16;

/// More bins that go are told one by one; else all go, and those that stay are written anew.
const REMOVED_MAX: usize = 16;

/// How long a record of a query waits for a thread, and for what that does.
const LOOK_PATIENCE: Duration = Duration::from_secs(10);

/// Pause before a thread is asked for again.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A bin and what becomes of its value; without one it goes.
type Written = (Vec<u8>, Option<Value<'static>>);

/// What was done on a thread, and of which state of the record.
pub(super) struct Done {
    version: Option<[u8; 10]>,
    generation: u16,
    void_time_s: u32,
    outcome: Outcome,
}

enum Outcome {
    /// The whole answer to a read.
    Answer(Vec<u8>, Ending),
    /// What is to be written, and told once it is.
    Write {
        /// All bins go first.
        wiped: bool,
        bins: Vec<Written>,
        answers: Vec<Written>,
    },
    /// The filter lets the record pass that is to be deleted, or that a function is to be called with.
    Passes,
    Refused(ResultCode),
}

/// A record as it was read.
pub(super) struct Snapshot {
    /// Its plain stored form.
    image: Vec<u8>,
    pub(super) version: [u8; 10],
    generation: u16,
    void_time_s: u32,
    update_time_ms: u64,
    pub(super) set_id: u16,
    size_bytes: u32,
}

impl Snapshot {
    fn of(found: &Found<'_>) -> Option<Snapshot> {
        let record = found.record.as_ref()?;
        Some(Snapshot {
            image: record.draft(record.meta).image(),
            version: record.meta.version,
            generation: found.generation,
            void_time_s: found.void_time_s,
            update_time_ms: found.update_time_ms,
            set_id: found.set_id,
            size_bytes: found.size_bytes,
        })
    }

    /// What was read.
    pub(super) fn found(&self) -> Result<Found<'_>, ResultCode> {
        let record = Record::parse_unsealed(&self.image).map_err(|_| ResultCode::Unknown)?;
        Ok(Found {
            generation: self.generation,
            void_time_s: self.void_time_s,
            update_time_ms: self.update_time_ms,
            set_id: self.set_id,
            size_bytes: self.size_bytes,
            record: Some(record),
        })
    }
}

/// Carries a request out on a thread; nothing is written yet.
pub(super) async fn run(
    core: &Rc<Core>,
    index: usize,
    message: &Message<'_>,
    asked: Asked,
    patience: Duration,
) -> Done {
    let refused = |code| Done {
        version: None,
        generation: 0,
        void_time_s: 0,
        outcome: Outcome::Refused(code),
    };
    let Ok(Some(digest)) = message.digest() else {
        return refused(ResultCode::Parameter);
    };
    let Ok(set) = message.set() else {
        return refused(ResultCode::Parameter);
    };
    let snapshot = match snapshot(core, index, digest, set.unwrap_or_default()).await {
        Ok(snapshot) => snapshot,
        Err(code) => return refused(code),
    };
    let (version, generation, void_time_s) = match &snapshot {
        Some(it) => (Some(it.version), it.generation, it.void_time_s),
        None => (None, 0, 0),
    };
    let mut body = Vec::new();
    message.put(&mut body);
    let respond_all = message.header.info2.contains(Info2::RESPOND_ALL_OPS);
    let job = Job {
        body,
        snapshot,
        asked,
        bytes_max: core.namespace(index).engine.config().record_bytes_max,
        scene: Scene::of(core, index, digest, respond_all),
    };
    let done = core.node.functions.aside(move || job.carry_out(), patience);
    Done {
        version,
        generation,
        void_time_s,
        // Nothing was done: it is for certain that the request was not carried out.
        outcome: done
            .await
            .unwrap_or(Outcome::Refused(ResultCode::DeviceOverload)),
    }
}

/// The record as it is; `None` if there is none.
pub(super) async fn snapshot(
    core: &Rc<Core>,
    index: usize,
    digest: Digest,
    set: &[u8],
) -> Result<Option<Snapshot>, ResultCode> {
    let request = ReadRequest {
        digest,
        set,
        key: None,
        need: Need::Bins,
        filter: None,
    };
    let mut fetched: Option<Fetched> = None;
    for _ in 0..FETCHES_MAX {
        let engine = &core.namespace(index).engine;
        let step = engine.read(
            core.now(),
            &request,
            fetched.as_ref(),
            |found| match found {
                Ok(found) => Ok(Snapshot::of(&found)),
                Err(refusal) if refusal.reason == Reason::NotFound => Ok(None),
                Err(refusal) => Err(single::code_of(&refusal.reason).0),
            },
        );
        fetched.take().into_iter().for_each(|it| core.done_with(it));
        match step {
            Step::Done(snapshot) => return snapshot,
            Step::Read(read) => {
                let read = core.fetch(index, read).await;
                fetched = Some(read.map_err(|_| ResultCode::Unknown)?);
            }
            Step::Wait => return Err(ResultCode::DeviceOverload),
        }
    }
    Err(ResultCode::DeviceOverload)
}

/// Has a thread look at a record of a query, as soon as there is one.
///
/// # Errors
/// What it says, or that there was none for too long.
pub(super) async fn look<J: Send + Sync + 'static, T: Send + 'static>(
    core: &Core,
    job: &Arc<J>,
    carry_out: fn(&J) -> Result<T, ResultCode>,
) -> Result<T, ResultCode> {
    let deadline = Instant::now() + LOOK_PATIENCE;
    loop {
        let job = job.clone();
        let functions = &core.node.functions;
        let looked = functions.aside(move || carry_out(&job), LOOK_PATIENCE);
        match looked.await {
            Ok(looked) => return looked,
            Err(NotRun::Busy) if Instant::now() < deadline => {
                tokio::time::sleep(BUSY_PAUSE).await;
            }
            Err(NotRun::Busy | NotRun::Late) => return Err(ResultCode::DeviceOverload),
        }
    }
}

/// A request with all that a thread has to know of it.
struct Job {
    body: Vec<u8>,
    snapshot: Option<Snapshot>,
    asked: Asked,
    bytes_max: usize,
    scene: Scene,
}

impl Job {
    fn carry_out(&self) -> Outcome {
        self.outcome()
            .unwrap_or_else(|Refused(code)| Outcome::Refused(code))
    }

    fn outcome(&self) -> Result<Outcome, Refused> {
        let message = Message::parse(&self.body)?;
        let work = Work::aside();
        let found = self.snapshot.as_ref().map(Snapshot::found).transpose()?;
        let record = found.as_ref().and_then(|found| found.record);
        let kind = message.kind()?;
        demands(&message, kind, found.as_ref())?;
        let filter = message.fields.filter.map(Filter::parse).transpose()?;
        if let (Some(filter), Some(found), Some(record)) = (filter, &found, record) {
            let passes = filter.passes(&(self.scene.metadata(found), record), &work);
            if work.is_exhausted() {
                return Err(EXHAUSTED.into());
            }
            if !passes {
                return Err(ResultCode::FilteredOut.into());
            }
        }
        match kind {
            Kind::Read => self.read(&message, found.ok_or(ResultCode::NotFound)?, &work),
            Kind::Write => self.write(&message, found, &work),
            Kind::Delete if found.is_none() => Err(ResultCode::NotFound.into()),
            Kind::Delete | Kind::Udf => Ok(Outcome::Passes),
            _ => Err(ResultCode::UnsupportedFeature.into()), // no other comes here
        }
    }

    fn read(
        &self,
        message: &Message<'_>,
        mut found: Found<'_>,
        work: &Work,
    ) -> Result<Outcome, Refused> {
        let info1 = message.header.info1;
        let mut out = Vec::new();
        if info1.contains(Info1::GET_NO_BINS) {
            found.record = None;
        }
        let all = found.record.is_none() || info1.contains(Info1::GET_ALL);
        let ending = if all {
            single::all(&mut out, self.asked, &found)
        } else {
            single::selected(&mut out, self.asked, message, &found, &self.scene, work)
                .map_err(|_| EXHAUSTED)?
        };
        Ok(Outcome::Answer(out, ending))
    }

    fn write(
        &self,
        message: &Message<'_>,
        found: Option<Found<'_>>,
        work: &Work,
    ) -> Result<Outcome, Refused> {
        let operations = single::operations(message, self.bytes_max)?;
        let (info1, info2) = (message.header.info1, message.header.info2);
        let exists = single::exists(info2, message.header.info3);
        let flags = CommandFlags {
            reads: info1.contains(Info1::READ),
            get_all: info1.contains(Info1::GET_ALL),
            replaces: exists.replaces(),
            respond_all: self.scene.respond_all,
        };
        operation::check(&operations, flags).map_err(|it| single::code_of_operation(&it))?;
        // Of these nothing is left in what is written in the end.
        if found.is_none() && operations.contains(&Operation::Touch) {
            return Err(ResultCode::NotFound.into());
        }
        let record = found.as_ref().and_then(|found| found.record);
        let mut old: Bins<'_> = record
            .iter()
            .filter(|_| !exists.replaces())
            .flat_map(|record| record.bins())
            .collect();
        if old.lacks_index() {
            old.index();
        }
        let metadata = match &found {
            Some(found) => self.scene.metadata(found),
            None => self.metadata_of_none(message.set()?.unwrap_or_default()),
        };
        let setting = Setting {
            respond_all: self.scene.respond_all,
            writes: true,
            metadata,
            key: record.and_then(|record| record.key),
        };
        let applied = operation::apply(old.clone(), &operations, &setting, work);
        let applied = applied.map_err(|error| single::code_of_operation(&error))?;
        let removed = old
            .iter()
            .filter(|bin| applied.bins.get(bin.name).is_none())
            .map(|bin| (bin.name.to_vec(), None));
        let removed: Vec<Written> = removed.collect();
        let wiped = removed.len() > REMOVED_MAX;
        let stays = |bin: &karst_data::bin::BinRef<'_>| {
            let before = old.find(bin.name).filter(|_| !wiped);
            before != Some(*bin)
        };
        let written = applied.bins.iter().filter(stays).map(|bin| {
            let value = Value {
                particle: bin.particle,
                bytes: bin.value.to_vec().into(),
            };
            (bin.name.to_vec(), Some(value))
        });
        let removed = if wiped { Vec::new() } else { removed };
        Ok(Outcome::Write {
            wiped,
            bins: removed.into_iter().chain(written).collect(),
            answers: applied
                .answers
                .iter()
                .map(|(name, value)| (name.to_vec(), value.clone().map(Value::into_owned)))
                .collect(),
        })
    }

    /// What expressions are told of a record that is only made.
    fn metadata_of_none<'a>(&self, set: &'a [u8]) -> Metadata<'a> {
        Metadata {
            digest: self.scene.digest,
            set,
            stores_key: false,
            tombstone: false,
            void_time_s: 0,
            update_time_ms: 0,
            size_bytes: 0,
            in_memory: self.scene.in_memory,
            now: self.scene.now,
        }
    }
}

/// Checks what a request demands of a record before its filter is asked; it is checked again when it takes place.
fn demands(message: &Message<'_>, kind: Kind, found: Option<&Found<'_>>) -> Result<(), Refused> {
    let header = &message.header;
    let exists = match kind {
        Kind::Write => single::exists(header.info2, header.info3),
        _ => Exists::Any,
    };
    match (exists, found) {
        (Exists::CreateOnly, Some(_)) => return Err(ResultCode::RecordExists.into()),
        (Exists::UpdateOnly | Exists::ReplaceOnly, None) => {
            return Err(ResultCode::NotFound.into());
        }
        _ => {}
    }
    let rule = single::generation(header.info2, header.generation);
    let accepts = rule.accepts(found.map_or(0, |found| found.generation));
    match kind {
        Kind::Write if !accepts => Err(ResultCode::Generation.into()),
        Kind::Delete if !accepts && found.is_some() => Err(ResultCode::Generation.into()),
        _ => Ok(()),
    }
}

/// Answers a request that was carried out elsewhere, and writes what it is to write.
pub(super) fn finish(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (done, fetched): (&Done, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let start = out.len();
    let op = match message.kind()? {
        Kind::Read => Op::Read,
        Kind::Delete => Op::Delete,
        Kind::Udf => Op::Udf,
        _ => Op::Write,
    };
    let ending = match &done.outcome {
        Outcome::Write {
            wiped,
            bins,
            answers,
        } => {
            let operations = operations(*wiped, bins);
            return write(
                core,
                at,
                message,
                asked,
                (done, &operations, answers, fetched),
                out,
            );
        }
        Outcome::Passes if op == Op::Delete => {
            return delete(core, at, message, asked, (done.version, fetched), out);
        }
        Outcome::Passes => {
            let passed = udf::Passed(done.version);
            return udf::begin(core, at, message, asked, (Some(&passed), fetched), out);
        }
        Outcome::Answer(answer, ending) => {
            out.extend_from_slice(answer);
            *ending
        }
        Outcome::Refused(code) => {
            let head = asked.head(*code, done.generation, done.void_time_s);
            single::head_only(out, &head);
            match code {
                ResultCode::NotFound => Ending::NotFound,
                ResultCode::FilteredOut => Ending::FilteredOut,
                ResultCode::DeviceOverload => Ending::Overload,
                _ => Ending::Refused,
            }
        }
    };
    let tried = match at.share.quorums.is_some() {
        // What was read counts only if it is still what is there: it may never have been confirmed.
        true if !is_still_there(core, at.index, &at.digest, done.version) => Try::Overtaken,
        true if op != Op::Read || at.reads.belong_to_primary() => {
            let reads = strong::Reads::of(at.share, message).of_primary();
            strong::after_read(core, at.index, &at.digest, at.by(), reads)
        }
        _ => Try::Replied(None),
    };
    if let Try::Replied(_) = &tried {
        asked.count(core, at.index, op, ending);
    }
    Ok(tried.or_take_back(out, start))
}

/// Whether the record is in the state that something was done on.
pub(super) fn is_still_there(
    core: &Core,
    index: usize,
    digest: &Digest,
    version: Option<[u8; 10]>,
) -> bool {
    let engine = &core.namespace(index).engine;
    let entry = engine.entry(digest).filter(|it| !it.is_tombstone());
    entry.map(|entry| entry.version.pack()) == version
}

fn operations(wiped: bool, bins: &[Written]) -> Vec<Operation<'_>> {
    let mut operations = Vec::with_capacity(bins.len() + 1);
    if wiped {
        operations.push(Operation::DeleteAll);
    }
    operations.extend(bins.iter().map(|(name, value)| {
        let value = value.as_ref().map(|value| Value {
            particle: value.particle,
            bytes: (&*value.bytes).into(),
        });
        Operation::Write(name, value)
    }));
    if operations.is_empty() {
        operations.push(Operation::Touch);
    }
    operations
}

fn write(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (done, operations, answers, fetched): (&Done, &[Operation<'_>], &[Written], Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let (index, header) = (at.index, &message.header);
    let exists = single::exists(header.info2, header.info3);
    let request = WriteRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        exists,
        generation: single::generation(header.info2, header.generation),
        ttl: Ttl::from_wire(header.record_ttl).ok_or(ResultCode::Parameter)?,
        flags: CommandFlags {
            replaces: exists.replaces(),
            ..CommandFlags::default()
        },
        operations,
        filter: None, // it has let the record pass that this is written over
    };
    let basis = Basis {
        version: done.version,
        drops_key: false,
    };
    let engine = &core.namespace(index).engine;
    let hand = core.hand(index, at.share.regime, at.replicated);
    let (start, mut overtaken) = (out.len(), false);
    let step = engine.write_over(&hand, &request, &basis, fetched, |written| {
        let ending = match &written {
            Ok(written) => {
                let head = asked.head(ResultCode::Ok, written.generation, written.void_time_s);
                let mut reply = RecordReply::framed(out, &head);
                let answers: Vec<operation::Answer<'_>> = answers
                    .iter()
                    .map(|(name, value)| (name.as_slice().into(), value.clone()))
                    .collect();
                single::append_answers(&mut reply, &answers);
                match reply.finish().is_ok() {
                    true => Ending::Ok,
                    false => {
                        // As for any write whose answers alone are too long.
                        single::error(out, asked, ResultCode::Timeout);
                        Ending::Error
                    }
                }
            }
            Err(refusal) if refusal.reason == Reason::Overtaken => {
                overtaken = true;
                return None;
            }
            Err(refusal) => single::refused(out, asked, refusal),
        };
        asked.count(core, index, Op::Write, ending);
        single::stored(written.ok()?)
    });
    if overtaken {
        return Ok(Try::Overtaken);
    }
    Ok(single::after_write(core, at, message, step).or_take_back(out, start))
}

/// Deletes the record that the filter has let pass.
fn delete(
    core: &Rc<Core>,
    at: &At<'_>,
    message: &Message<'_>,
    asked: Asked,
    (version, fetched): (Option<[u8; 10]>, Option<&Fetched>),
    out: &mut Vec<u8>,
) -> Result<Try, Refused> {
    let header = &message.header;
    let request = DeleteRequest {
        digest: at.digest,
        set: message.set()?.unwrap_or_default(),
        key: message.key().map(|key| key.0),
        generation: single::generation(header.info2, header.generation),
        filter: None, // it has let the record pass in the state in which it is deleted
    };
    let basis = Basis {
        version,
        drops_key: false,
    };
    let engine = &core.namespace(at.index).engine;
    let hand = core.hand(at.index, at.share.regime, at.replicated);
    let (start, mut overtaken) = (out.len(), false);
    let step = engine.delete_over(&hand, &request, &basis, fetched, |written| {
        let ending = match &written {
            Ok(_) => {
                single::head_only(out, &asked.head(ResultCode::Ok, 0, 0));
                Ending::Ok
            }
            Err(refusal) if refusal.reason == Reason::Overtaken => {
                overtaken = true;
                return None;
            }
            Err(refusal) => single::refused(out, asked, refusal),
        };
        asked.count(core, at.index, Op::Delete, ending);
        single::stored(written.ok()?)
    });
    if overtaken {
        return Ok(Try::Overtaken);
    }
    Ok(single::after_write(core, at, message, step).or_take_back(out, start))
}
