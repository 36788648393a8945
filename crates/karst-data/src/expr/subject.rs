//! What an expression is run on.

use crate::bin::{BinRef, Bins};
use crate::flat::Record;
use crate::key::Digest;
use crate::time::Now;

/// What the index knows of a record, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// The record's name.
    pub digest: Digest,
    /// Its set, empty for none.
    pub set: &'a [u8],
    /// Whether its key is stored with it.
    pub stores_key: bool,
    /// Whether it is the memory of a deleted record.
    pub tombstone: bool,
    /// Its void time in seconds since 2010, 0 for never.
    pub void_time_s: u32,
    /// Its last update in ms since 2010.
    pub update_time_ms: u64,
    /// How many bytes it takes where it is stored.
    pub size_bytes: u32,
    /// Whether it is stored in memory and not on a device.
    pub in_memory: bool,
    /// The present.
    pub now: Now,
}

/// Something of a record that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// The record was not read: nothing is known.
    Unread,
    /// The record was read and does not have it.
    Missing,
    /// There it is.
    Found(T),
}

impl<T> From<Option<T>> for Lookup<T> {
    fn from(found: Option<T>) -> Lookup<T> {
        found.map_or(Lookup::Missing, Lookup::Found)
    }
}

/// The element of a collection at which an expression runs, packed. Paths into collections have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iteration<'a> {
    /// Its key, in a map.
    pub key: Option<&'a [u8]>,
    /// The element itself.
    pub value: &'a [u8],
    /// Its place, in a list.
    pub index: Option<i64>,
}

/// What an expression is run on: a record of which metadata alone or everything is known, or no record but
/// an element of a collection.
pub trait Subject {
    /// What the index knows, if this is a record.
    fn metadata(&self) -> Option<&Metadata<'_>>;

    /// The stored key, its type byte first.
    fn key(&self) -> Lookup<&[u8]>;

    /// A bin.
    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>>;

    /// How many bins are looked at to find one, at most.
    fn bin_count(&self) -> usize {
        0
    }

    /// The element at which it runs, inside a collection.
    fn iteration(&self) -> Option<Iteration<'_>> {
        None
    }
}

impl Subject for Metadata<'_> {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        Some(self)
    }

    fn key(&self) -> Lookup<&[u8]> {
        Lookup::Unread
    }

    fn bin(&self, _: &[u8]) -> Lookup<BinRef<'_>> {
        Lookup::Unread
    }
}

/// A record as it is stored.
impl Subject for (Metadata<'_>, Record<'_>) {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        Some(&self.0)
    }

    fn key(&self) -> Lookup<&[u8]> {
        self.1.key.into()
    }

    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>> {
        self.1.bin(name).into()
    }

    fn bin_count(&self) -> usize {
        self.1.bin_count().into()
    }
}

/// A record in the making: what is known of it from before, its key, and its bins as they are by now.
impl Subject for (Metadata<'_>, Option<&[u8]>, &Bins<'_>) {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        Some(&self.0)
    }

    fn key(&self) -> Lookup<&[u8]> {
        self.1.into()
    }

    fn bin(&self, name: &[u8]) -> Lookup<BinRef<'_>> {
        self.2.find(name).into()
    }

    fn bin_count(&self) -> usize {
        self.2.passed_by()
    }
}

impl Subject for Iteration<'_> {
    fn metadata(&self) -> Option<&Metadata<'_>> {
        None
    }

    fn key(&self) -> Lookup<&[u8]> {
        Lookup::Unread
    }

    fn bin(&self, _: &[u8]) -> Lookup<BinRef<'_>> {
        Lookup::Unread
    }

    fn iteration(&self) -> Option<Iteration<'_>> {
        Some(*self)
    }
}
