//! Building secondary indexes: each core its share of the partitions, beside its clients.
//!
//! What was just made, and after a start everything; and at all times records that are late, since their collections
//! are too large for the step of their write. Some records are read from devices at once, and others run between two
//! slices.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_data::key::{Digest, PartitionId};
use karst_engine::Step;
use karst_engine::sindex::build::Build;
use karst_engine::sindex::late::Late;
use karst_io::clock;

use super::Core;
use crate::node;

/// How often it is looked whether there is something to build, or a record late, if nothing says so.
const PAUSE: Duration = Duration::from_millis(100);

/// Records that are read from devices at once.
const READS_MAX: usize = 32;

/// How often a record that moves is looked for.
const FETCHES_MAX: usize = 16;

/// Builds whatever lacks, for as long as the node lives.
pub(super) async fn build(core: Rc<Core>, index: usize) {
    let engine = &core.namespace(index).engine;
    let mut changes = core.node.sights.changes();
    loop {
        let lacking = engine.sindexes().iter().any(|it| !it.index.is_built());
        if lacking {
            build_share(&core, index).await;
        }
        if engine.has_late() {
            index_late(&core, index).await;
        }
        let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
    }
}

/// The partitions that a core builds.
fn share(core: &Core) -> impl Iterator<Item = PartitionId> + use<> {
    let mine = PartitionId::all().skip(usize::from(core.number));
    mine.step_by(core.node.cores.len())
}

async fn build_share(core: &Rc<Core>, index: usize) {
    let engine = &core.namespace(index).engine;
    let (began_us, mut records) = (clock::monotonic_us(), 0u64);
    for (turn, partition) in share(core).enumerate() {
        if let Some(build) = engine.begin_build(partition) {
            records += build_partition(core, index, &build).await;
            if engine.end_build(&build) {
                note_built(core, index, began_us);
            }
        }
        if turn % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let namespace = &core.namespace(index).config.name;
    let took_ms = (clock::monotonic_us() - began_us) / 1000;
    tracing::info!(
        namespace,
        core = core.number,
        records,
        took_ms,
        "secondary indexes are built, this core's share"
    );
}

/// Notes how long the indexes took that have become whole.
fn note_built(core: &Core, index: usize, began_us: u64) {
    let took_ms = (clock::monotonic_us() - began_us) / 1000;
    for named in core.namespace(index).engine.sindexes().iter() {
        if named.index.is_built() && named.index.build_ms.load(Ordering::Relaxed) == 0 {
            named.index.build_ms.store(took_ms, Ordering::Relaxed);
        }
    }
}

/// Returns how many records it has seen.
async fn build_partition(core: &Rc<Core>, index: usize, build: &Build) -> u64 {
    let engine = &core.namespace(index).engine;
    let (mut after, mut records) = (None, 0);
    loop {
        let slice = engine.build_slice(build, after);
        records += slice.digests.len() as u64;
        let mut digests = slice.digests.iter();
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < READS_MAX
                && let Some(digest) = digests.next()
            {
                reading.push(build_record(core, index, build, digest));
            }
            if reading.next().await.is_none() {
                break;
            }
        }
        after = slice.next;
        if after.is_none() {
            return records;
        }
        tokio::task::yield_now().await;
    }
}

/// One that cannot be read is in no index: no query could return it either.
async fn build_record(core: &Rc<Core>, index: usize, build: &Build, digest: &Digest) {
    let engine = &core.namespace(index).engine;
    let mut fetched = None;
    for _ in 0..FETCHES_MAX {
        match engine.build_record(build, digest, fetched.as_ref(), node::now()) {
            Step::Done(_) => break,
            Step::Read(read) => match core.fetch(index, read).await {
                Ok(bytes) => fetched = Some(bytes),
                Err(_) => break,
            },
            Step::Wait => unreachable!("nothing is written"),
        }
    }
    fetched.into_iter().for_each(|it| core.done_with(it));
}

/// Puts in what is late: each record as it is now, in slices.
async fn index_late(core: &Rc<Core>, index: usize) {
    let engine = &core.namespace(index).engine;
    for (turn, partition) in share(core).enumerate() {
        let mut behind = None;
        while let Some(digest) = engine.next_late(partition, behind) {
            if let Some(mut late) = begin_late(core, index, &digest).await {
                while engine.late_slice(&mut late) {
                    tokio::task::yield_now().await;
                }
            }
            tokio::task::yield_now().await;
            behind = Some(digest); // one that is written all the time does not keep others waiting
        }
        if turn % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Reads a late record; `None` if there is nothing to be done for it, or not now.
async fn begin_late(core: &Rc<Core>, index: usize, digest: &Digest) -> Option<Late> {
    let engine = &core.namespace(index).engine;
    let (mut fetched, mut late) = (None, None);
    for _ in 0..FETCHES_MAX {
        match engine.begin_late(digest, fetched.as_ref(), node::now()) {
            Step::Done(begun) => {
                late = begun;
                break;
            }
            Step::Read(read) => match core.fetch(index, read).await {
                Ok(bytes) => fetched = Some(bytes),
                Err(_) => break,
            },
            Step::Wait => unreachable!("nothing is written"),
        }
    }
    fetched.into_iter().for_each(|it| core.done_with(it));
    late
}
