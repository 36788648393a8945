//! Building secondary indexes: each core its share of the partitions, beside its clients.
//!
//! What was just made, and after a start everything. Some records are read from devices at once, and others run
//! between two slices.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use karst_data::key::{Digest, PartitionId};
use karst_engine::Step;
use karst_engine::sindex::build::Build;
use karst_io::clock;

use super::Core;

/// How often it is looked whether there is something to build, if nothing says so.
const PAUSE: Duration = Duration::from_secs(1);

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
        let _ = tokio::time::timeout(PAUSE, changes.changed()).await;
    }
}

async fn build_share(core: &Rc<Core>, index: usize) {
    let cores = core.node.cores.len();
    let engine = &core.namespace(index).engine;
    let (began_us, mut records) = (clock::monotonic_us(), 0u64);
    let mine = PartitionId::all().skip(usize::from(core.number));
    for (turn, partition) in mine.step_by(cores).enumerate() {
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
        match engine.build_record(build, digest, fetched.as_ref()) {
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
