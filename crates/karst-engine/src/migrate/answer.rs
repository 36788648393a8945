//! What a node answers to another one that asks it for a partition, or sends it something of one.
//!
//! Whoever asks says under which regime. If this node's partition is under another one, they go by different
//! maps, and nothing is done.

use std::cmp::Ordering;

use karst_cluster::fabric::{self, Ack, Listed, Malformed, OfPartition, RANGES};
use karst_cluster::map::{Regime, Role};
use karst_cluster::view::Share;
use karst_data::flat::Record;
use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_storage::log::CommitPoint;

use crate::error::Reason;
use crate::namespace::{Namespace, Step};
use crate::reconcile::listed;
use crate::replica::Copied;
use crate::write::Hand;

/// Bytes of records that one reply brings at most, unless the first alone exceeds it.
const FETCHED_BYTES_MAX: usize = 4 << 20;

/// Entries that a reply lists at most; a range that holds more is refused.
const LISTED_MAX: usize = 1 << 20;

/// A record that another node sent, checked as far as its bytes tell.
///
/// # Errors
/// When it is none, or not one of this partition.
pub fn sound(image: &[u8], partition: PartitionId) -> Result<Record<'_>, Malformed> {
    let malformed = |_| Malformed("a record that is none");
    let record = Record::parse_unsealed(image).map_err(malformed)?;
    record.validate().map_err(malformed)?;
    if record.meta.digest.partition() != partition {
        return Err(Malformed("a record of another partition"));
    }
    Ok(record)
}

/// The partition that is asked about, if the asker's map is this node's.
///
/// # Errors
/// When it is not: this is the answer.
pub fn admit(engine: &Namespace, of: &OfPartition<'_>) -> Result<PartitionId, Ack> {
    let id = PartitionId(of.partition);
    if id.index() >= PARTITIONS {
        return Err(Ack::Misled);
    }
    match of.regime.cmp(&Regime(engine.regime(id))) {
        Ordering::Less => Err(Ack::Stale),
        Ordering::Greater => Err(Ack::Early),
        Ordering::Equal => Ok(id),
    }
}

/// Appends the hashes of a partition's ranges, and how much it holds. Who asks for that of a strongly consistent
/// partition counts on what is the same here as there: if the namespace asks for durable writes, everything that was here
/// when the question [was admitted](admit) has to be durable before.
pub fn put_hashes(engine: &Namespace, id: PartitionId, out: &mut Vec<u8>) {
    engine.let_go_of_failed(id);
    let hashes = engine.range_hashes(id);
    let (records, tombstones) = engine.partition_counts(id);
    let count = records + tombstones;
    let numbers = hashes.iter().chain([&count]);
    numbers.for_each(|number| out.extend(number.to_le_bytes()));
}

/// Reads what [`put_hashes`] has put.
///
/// # Errors
/// When it is something else.
pub fn read_hashes(payload: &[u8]) -> Result<(Vec<u64>, u64), Malformed> {
    let malformed = Malformed("no hashes of a partition");
    let (numbers, rest) = payload.as_chunks::<8>();
    if numbers.len() != RANGES + 1 || !rest.is_empty() {
        return Err(malformed);
    }
    let mut numbers: Vec<u64> = numbers.iter().map(|it| u64::from_le_bytes(*it)).collect();
    let count = numbers.pop().ok_or(malformed)?;
    Ok((numbers, count))
}

/// What a range holds.
///
/// # Errors
/// When that is too much.
pub fn list(engine: &Namespace, id: PartitionId, range: u8) -> Result<Vec<Listed>, Ack> {
    let entries = engine.range_entries(id, range);
    match entries.len() > LISTED_MAX {
        true => Err(Ack::Failed),
        false => Ok(entries.iter().map(listed).collect()),
    }
}

/// Records that are gathered for a reply, one after the other.
pub struct Gathering {
    digests: std::vec::IntoIter<Digest>,
    reply: Vec<u8>,
}

impl Gathering {
    /// Of these records.
    pub fn new(digests: Vec<Digest>) -> Gathering {
        Gathering {
            digests: digests.into_iter(),
            reply: Vec::new(),
        }
    }

    /// Which one is wanted next; `None` when the reply is complete, or holds enough: the rest is asked for again.
    pub fn wanted(&mut self) -> Option<Digest> {
        match self.reply.len() >= FETCHED_BYTES_MAX {
            true => None,
            false => self.digests.next(),
        }
    }

    /// Its image; what is missing is just left out.
    pub fn add(&mut self, image: &[u8]) {
        fabric::put_record(&mut self.reply, image);
    }

    /// The reply's payload.
    pub fn into_reply(self) -> Vec<u8> {
        self.reply
    }
}

/// What became of a record that the primary sent.
#[derive(Clone, Copy, Debug)]
pub enum Taken {
    /// This is the answer.
    Answer(Ack),
    /// It was here already. That is answered with [`Ack::Done`], but if the namespace asks for durable writes not
    /// before everything that is here is durable: the first time it came may still be on its way to a device.
    Known,
    /// It is here, and is to be durable from this point on before that is answered if the namespace asks so.
    Stored(Option<CommitPoint>),
    /// There is no free block for the moment: try again, and answer [`Ack::Full`] if that lasts.
    Wait,
}

/// Takes a record that the primary sent.
pub fn take(engine: &Namespace, hand: &Hand, record: &Record<'_>) -> Taken {
    match engine.take_copy(hand, record) {
        Step::Read(_) | Step::Wait => Taken::Wait,
        Step::Done(Copied::Stored(point)) => Taken::Stored(point),
        Step::Done(Copied::Known) => Taken::Known,
        Step::Done(Copied::Stale) => Taken::Answer(Ack::Stale),
        Step::Done(Copied::Early) => Taken::Answer(Ack::Early),
        Step::Done(Copied::Refused(reason)) => Taken::Answer(refusal(reason)),
    }
}

fn refusal(reason: Reason) -> Ack {
    match reason {
        Reason::OutOfSpace | Reason::IndexFull | Reason::StopWrites | Reason::SetFull => Ack::Full,
        _ => Ack::Failed,
    }
}

/// Whether a write that a former primary hands over under a regime is to be adopted here. The later of two writes
/// wins, as everywhere when copies are merged; one that came here already is only sent on.
///
/// # Errors
/// When this node is not the primary under that regime.
pub fn admit_late(share: &Share, regime: Regime) -> Result<(), Ack> {
    match share.regime == regime && share.role == Role::Primary {
        true => Ok(()),
        false => Err(Ack::Misled),
    }
}

/// The answer to a former primary, once the write it handed over was adopted and has arrived, or was not.
pub fn of_late(adopted: Result<(), super::Cut>) -> Ack {
    match adopted {
        Ok(()) => Ack::Done,
        Err(super::Cut::Overtaken) => Ack::Stale,
        Err(super::Cut::Later) => Ack::Failed,
    }
}
