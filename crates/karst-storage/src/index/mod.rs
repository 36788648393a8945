//! The primary index: for every record one 64-byte entry in DRAM, found by digest.
//!
//! ```text
//! EntryArena   one per namespace: 4 KiB pages of 64 entries, out of one region
//!    ^ pages
//! Directory    one per partition, under the partition's mutex: linear hashing over 4-byte heads
//!    | head -> entry -> entry -> end        the chain link lies inside the entry
//! Entry        digest, place, version, times, generation, set, flags: one cache line
//! ```
//!
//! The region is anonymous, or shared memory that outlives the process and is attached by the next one
//! ([`EntryArena::attach`]), after a stop in order or a kill at any instant:
//!
//! ```text
//! Front        whose index it is, names of sets, and for each partition its write counter and its undo
//! pages        entries; each carries a check over all but its chain link
//! ```
//!
//! Entries alone are believed, and each is checked; heads, chains and counts lie in private memory or are
//! made anew. So what has to be whole at every instant is one entry, and one undo for each partition
//! sees to that.
//!
//! Owns what is known of a record without reading its device. Does not own the record's bytes or
//! which blocks are live (`log`), nor who may change an entry (`engine`: the partition's mutex).
//!
//! **Cost.** An entry is 64 bytes and its head four, one head for every record once a partition
//! holds more than 256 of them; half of a page and half of a segment per partition lie idle, and
//! tables add a few hundred bytes per partition. `benches/index.rs` measures the whole against the
//! limit of 72 bytes per record at ten million. A stranger is mostly ruled out by the bucket head
//! alone: one cache miss. A record costs its head, its entry and half an entry before it.
//!
//! **Growth is bounded at any size.** No insert rehashes or copies more than a bucket:
//!
//! | an insert may | bound |
//! |---|---|
//! | split buckets | one, so it touches one chain: one entry on average |
//! | add a segment of heads | 1 KiB |
//! | take a page from the arena | 4 KiB; its first touch may make 2 MiB resident; in shared memory that was not prepared ahead, 2 MiB are allocated |
//! | grow a table of segments or pages | a copy of 8 bytes for every 256 buckets, doubling: 8 KiB in a node of a billion records, 512 KiB in the fullest partition there can be |
//!
//! Neither entries nor heads ever move, and the last bound is a constant too: no partition holds more
//! than 2^24 records. A remove merges at most three buckets and gives back at most eight pages. Only dropping a directory
//! takes time in proportion to its size.
//!
//! **Failure.** An insert that finds no room changes nothing and says so ([`InsertError`]). Anything
//! else that goes wrong here is a bug, and stops the process.

mod arena;
mod attach;
mod directory;
mod entry;
mod front;
mod hash;
mod link;
mod probe;
mod table;
mod undo;
mod walk;

pub use arena::{ArenaFull, EntryArena};
pub use attach::{Attach, Damaged};
pub use directory::{Directory, InsertError, RECORDS_MAX, prefetch_line, prefetch_object};
pub use entry::{Entry, EntryMut, Flags, NewEntry};
pub use front::{NAMES_MAX, Owner, Refused, State};
pub use hash::HashKey;
pub use probe::Probe;
pub use walk::{Fate, WalkCursor};
