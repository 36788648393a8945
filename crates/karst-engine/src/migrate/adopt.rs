//! A primary takes a state of a record over that was made elsewhere: what another node kept while it was apart,
//! and what a former primary was writing when it was told that it is one no more.
//!
//! What it then has stored is a write of its own, which goes the way of all writes
//! ([`karst_cluster::replicate`]) to everybody who is to have it.

use karst_data::flat::Record;
use karst_data::key::{Digest, PartitionId};
use karst_storage::log::DeviceRead;

use super::Cut;
use crate::error::Reason;
use crate::namespace::{Fetched, Namespace, Step};
use crate::write::{Hand, Stored};

/// A write to be made by the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopt {
    /// Another node's state of a record, in stored form, if it outweighs what is here.
    Merge(Vec<u8>),
    /// Another node's state of a record, in stored form, if it is later than what is here: it stays what it is, and
    /// nobody else is told yet.
    Keep(Vec<u8>),
    /// What a former primary was writing. It may have come here as a copy, and to others not: so what is here then
    /// goes to everybody, whether this is it or something that outweighs it.
    TakeOver(Vec<u8>),
    /// What is here, under a version above another node's.
    Renew {
        /// The record.
        digest: Digest,
        /// The sequence of the other node's.
        theirs: u64,
    },
    /// The memory that a record is long gone.
    Bury(Digest),
}

/// How far it came.
#[derive(Debug)]
pub enum Adopted {
    /// It is done here. If there is an image, others are to have it.
    Stored(Stored),
    /// Read this from the device and try again with the bytes.
    Read(DeviceRead),
    /// There is no room for the moment: try again.
    Wait,
    /// It is not done.
    Cut(Cut),
}

impl Adopt {
    /// The record that it is about, if that can be told.
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Adopt::Merge(image) | Adopt::Keep(image) | Adopt::TakeOver(image) => {
                Some(Record::parse_unsealed(image).ok()?.meta.digest)
            }
            Adopt::Renew { digest, .. } | Adopt::Bury(digest) => Some(*digest),
        }
    }

    /// Tries to make the write, in a partition of which the hand's owner was found to be the primary.
    pub fn attempt(
        &self,
        engine: &Namespace,
        partition: PartitionId,
        hand: &Hand,
        fetched: Option<&Fetched>,
    ) -> Adopted {
        let step = match self {
            Adopt::Merge(image) => match Record::parse_unsealed(image) {
                Ok(record) => engine.merge(hand, &record),
                Err(_) => return Adopted::Cut(Cut::Later), // it was parsed before it was kept
            },
            Adopt::Keep(image) => match Record::parse_unsealed(image) {
                Ok(record) => engine.keep(hand, &record),
                Err(_) => return Adopted::Cut(Cut::Later),
            },
            Adopt::TakeOver(image) => match Record::parse_unsealed(image) {
                Ok(record) => take_over(engine, hand, &record, fetched),
                Err(_) => return Adopted::Cut(Cut::Later),
            },
            Adopt::Renew { digest, theirs } => engine.renew(hand, digest, *theirs, fetched),
            Adopt::Bury(digest) => engine.deny(hand, digest),
        };
        match step {
            Step::Done(Ok(stored)) => Adopted::Stored(stored),
            Step::Done(Err(_)) => Adopted::Cut(Cut::Later),
            Step::Read(read) => Adopted::Read(read),
            Step::Wait if engine.regime(partition) != hand.regime => Adopted::Cut(Cut::Overtaken),
            Step::Wait => Adopted::Wait,
        }
    }
}

fn take_over(
    engine: &Namespace,
    hand: &Hand,
    record: &Record<'_>,
    fetched: Option<&Fetched>,
) -> Step<Result<Stored, Reason>> {
    match engine.merge(hand, record) {
        Step::Done(Ok(Stored {
            commit,
            image: None,
            in_flight,
        })) => match engine.image(&record.meta.digest, fetched) {
            Step::Done(image) => Step::Done(image.map(|image| Stored {
                commit,
                image,
                in_flight,
            })),
            Step::Read(read) => Step::Read(read),
            Step::Wait => Step::Wait,
        },
        merged => merged,
    }
}
