//! The index as operators may look at it: fingerprints of partitions, entries of one.
//!
//! Walks go on threads of their own, a slice of a partition under its mutex at a time.

use karst_data::key::{Digest, PARTITIONS, PartitionId};
use karst_proto::admin as proto;
use karst_storage::index::NewEntry;
use tonic::{Response, Status};

use crate::node::{self, NamespaceState, Node};

/// Most partitions of one answer.
const PARTITIONS_MAX: u32 = 256;

/// Most entries of one answer.
const ENTRIES_MAX: u32 = 1000;

/// Runs a walk beside the control runtime, which has others to answer.
pub(super) async fn blocking<T: Send + 'static>(
    walk: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<Response<T>, Status> {
    let walked = tokio::task::spawn_blocking(walk).await;
    walked
        .map_err(|error| Status::internal(error.to_string()))?
        .map(Response::new)
}

fn namespace<'n>(node: &'n Node, name: &str) -> Result<&'n NamespaceState, Status> {
    Ok(&node.namespaces[position(node, name)?])
}

fn position(node: &Node, name: &str) -> Result<usize, Status> {
    let found = node.namespace(name.as_bytes());
    let missing = || Status::not_found(format!("there is no namespace \"{name}\""));
    found.map(|(position, _)| position).ok_or_else(missing)
}

pub(super) fn heat(
    node: &Node,
    request: &proto::HeatRequest,
) -> Result<proto::HeatResponse, Status> {
    let position = position(node, &request.namespace)?;
    let mut requests = vec![0; PARTITIONS];
    for core in node.cores.iter() {
        let heat = core.namespaces[position].heat.all();
        requests
            .iter_mut()
            .zip(heat)
            .for_each(|(all, of_core)| *all += of_core);
    }
    Ok(proto::HeatResponse { requests })
}

fn partition(number: u32) -> Result<PartitionId, Status> {
    let all = PARTITIONS - 1;
    let id = PartitionId::all().nth(number as usize);
    id.ok_or_else(|| Status::invalid_argument(format!("partitions are numbered 0 to {all}")))
}

pub(super) fn partitions(
    node: &Node,
    request: &proto::PartitionsRequest,
) -> Result<proto::PartitionsResponse, Status> {
    let engine = &namespace(node, &request.namespace)?.engine;
    let first = partition(request.first)?;
    let count = match request.count {
        0 => PARTITIONS_MAX,
        count => count.min(PARTITIONS_MAX),
    };
    let now = node::now();
    let one = |id: PartitionId| {
        let found = engine.fingerprint(id, now);
        proto::Partition {
            number: id.index() as u32,
            records: found.records,
            tombstones: found.tombstones,
            fingerprint: found.fingerprint,
        }
    };
    let ids = PartitionId::all().skip(first.index()).take(count as usize);
    Ok(proto::PartitionsResponse {
        partitions: ids.map(one).collect(),
    })
}

pub(super) fn entries(
    node: &Node,
    request: &proto::EntriesRequest,
) -> Result<proto::EntriesResponse, Status> {
    let engine = &namespace(node, &request.namespace)?.engine;
    let id = partition(request.partition)?;
    let after = match request.after.as_slice() {
        [] => None,
        bytes => {
            let digest = bytes.try_into().map(Digest);
            Some(digest.map_err(|_| Status::invalid_argument("a digest has 20 bytes"))?)
        }
    };
    let limit = match request.limit {
        0 => ENTRIES_MAX,
        limit => limit.min(ENTRIES_MAX),
    };
    let (entries, done) = engine.entries_after(id, after, limit as usize);
    let sets = engine.sets();
    let one = |entry: &NewEntry| proto::IndexEntry {
        digest: entry.digest.0.to_vec(),
        regime: entry.version.regime,
        sequence: entry.version.sequence,
        generation: entry.generation.into(),
        void_time: if entry.is_tombstone() {
            0
        } else {
            entry.void_time_s
        },
        last_update_ms: entry.update_time_ms,
        tombstone: entry.is_tombstone(),
        set: sets.get(entry.set_id).name.to_vec(),
    };
    Ok(proto::EntriesResponse {
        entries: entries.iter().map(one).collect(),
        done,
    })
}
