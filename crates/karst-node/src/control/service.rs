//! What other nodes ask of this one: the gRPC services of `proto/karst/raft`.
//!
//! A peer's bytes are foreign: everything is parsed or refused here, and looked at once more
//! (`karst_cluster::raft::sound`) before openraft gets it, which trusts its peers.
//!
//! Bounds: messages of [`RAFT_BYTES_MAX`], [`MEMBERSHIP_BYTES_MAX`] and [`SNAPSHOT_BYTES_MAX`]; one snapshot
//! at a time.

use std::sync::Arc;

use karst_cluster::node::{ClusterId, NodeFacts, NodeId};
use karst_cluster::raft::{SnapshotMeta, TypeConfig, Vote, machine, sound};
use karst_cluster::state::Command;
use karst_io::clock;
use karst_proto::raft as proto;
use karst_proto::raft::membership_server::Membership;
use karst_proto::raft::raft_server::Raft;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

use super::lead::Admitted;
use super::report::Reported;
use super::report::from_message;
use super::{COMMAND_BYTES_MAX, Shared};

/// Largest message of the group: as many entries as are sent at once, each of the largest size.
pub(crate) const RAFT_BYTES_MAX: usize = 24 << 20;

/// Largest message about membership: a command, or what a node tells of itself.
pub(crate) const MEMBERSHIP_BYTES_MAX: usize = COMMAND_BYTES_MAX + (64 << 10);

/// Largest snapshot: 32 namespaces take about 24 MiB with three replicas.
const SNAPSHOT_BYTES_MAX: usize = 256 << 20;

/// What one message of a snapshot carries.
pub(crate) const SNAPSHOT_PART_BYTES: usize = 512 << 10;

/// Nodes that an answer names.
const KNOWN_MAX: usize = 256;

/// Partitions that a report names.
pub(crate) const SYNCED_MAX: usize = 4096;

/// Nodes that a report says not to be heard; more are not listened to.
const UNHEARD_MAX: usize = 1024;

/// The service of the group.
pub(crate) struct RaftService {
    shared: Arc<Shared>,
    snapshots: Semaphore,
}

impl RaftService {
    pub(crate) fn new(shared: Arc<Shared>) -> RaftService {
        RaftService {
            shared,
            snapshots: Semaphore::new(1),
        }
    }

    /// What a call brings, if it is meant for this node and comes from its cluster.
    fn open<T: DeserializeOwned>(&self, request: &proto::RaftRequest) -> Result<T, Status> {
        if request.to != self.shared.me.id.0 {
            return Err(Status::failed_precondition(format!(
                "this is node {}, not {}",
                self.shared.me.id,
                NodeId(request.to)
            )));
        }
        let cluster = cluster_id(&request.cluster_id)?;
        let payload = serde_json::from_slice(&request.payload).map_err(malformed)?;
        let kept = self.shared.bond.keep(cluster);
        kept.map_err(|elsewhere| Status::failed_precondition(elsewhere.to_string()))?;
        Ok(payload)
    }
}

fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("it cannot be understood: {error}"))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

fn unsound() -> Status {
    Status::invalid_argument("no node that keeps to the protocol says this")
}

fn cluster_id(bytes: &[u8]) -> Result<ClusterId, Status> {
    let bytes = bytes
        .try_into()
        .map_err(|_| malformed("a cluster's id has 16 bytes"))?;
    Ok(ClusterId(bytes))
}

fn answer(answer: &impl Serialize) -> Result<Response<proto::RaftResponse>, Status> {
    let payload =
        serde_json::to_vec(answer).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(proto::RaftResponse { payload }))
}

#[tonic::async_trait]
impl Raft for RaftService {
    async fn append(
        &self,
        request: Request<proto::RaftRequest>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        let request: AppendEntriesRequest<TypeConfig> = self.open(request.get_ref())?;
        if !sound::append(&request) {
            return Err(unsound());
        }
        let appended = self.shared.raft()?.append_entries(request).await;
        answer(&appended.map_err(stopped)?)
    }

    async fn vote(
        &self,
        request: Request<proto::RaftRequest>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        let request: VoteRequest<TypeConfig> = self.open(request.get_ref())?;
        let voted = self.shared.raft()?.vote(request).await;
        answer(&voted.map_err(stopped)?)
    }

    async fn pre_vote(
        &self,
        request: Request<proto::RaftRequest>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        let request: VoteRequest<TypeConfig> = self.open(request.get_ref())?;
        let voted = self.shared.raft()?.pre_vote(request).await;
        answer(&voted.map_err(stopped)?)
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::RaftRequest>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        let request: TransferLeaderRequest<TypeConfig> = self.open(request.get_ref())?;
        let moved = self.shared.raft()?.handle_transfer_leader(request).await;
        answer(&moved.map_err(stopped)?)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<proto::RaftResponse>, Status> {
        let _one = self.snapshots.try_acquire();
        let _one =
            _one.map_err(|_| Status::resource_exhausted("another snapshot is on its way"))?;
        let mut parts = request.into_inner();
        let first = parts.next().await;
        let first = first.unwrap_or_else(|| Err(malformed("no parts")))?;
        let head = first.head.ok_or_else(|| malformed("no head"))?;
        let (vote, meta): (Vote, SnapshotMeta) = self.open(&head)?;
        let data = gather(first.data, parts).await?;
        let raft = self.shared.raft()?;
        let applied = self
            .shared
            .metrics()
            .and_then(|metrics| metrics.last_applied);
        if !sound::snapshot(&vote, &meta, applied) {
            return Err(unsound());
        }
        let data = readable(data).await?;
        let snapshot = karst_cluster::raft::Snapshot {
            meta,
            snapshot: data,
        };
        answer(
            &raft
                .install_full_snapshot(vote, snapshot)
                .await
                .map_err(stopped)?,
        )
    }
}

async fn gather(
    mut data: Vec<u8>,
    mut parts: Streaming<proto::SnapshotPart>,
) -> Result<Vec<u8>, Status> {
    while let Some(part) = parts.next().await {
        data.extend_from_slice(&part?.data);
        if data.len() > SNAPSHOT_BYTES_MAX {
            return Err(Status::resource_exhausted("the snapshot is too large"));
        }
    }
    Ok(data)
}

/// A snapshot that cannot be read would stop the state machine for good: it is read once before.
async fn readable(data: Vec<u8>) -> Result<Vec<u8>, Status> {
    let read = tokio::task::spawn_blocking(move || machine::decode(&data).map(|_| data)).await;
    read.map_err(stopped)?
        .ok_or_else(|| malformed("it is no snapshot"))
}

/// The service about membership.
pub(crate) struct MembershipService(pub(crate) Arc<Shared>);

impl MembershipService {
    fn same_name(&self, name: &str, who: &str) -> Result<(), Status> {
        let mine = &self.0.cluster_name;
        if name == mine {
            return Ok(());
        }
        let name = name.escape_debug();
        tracing::warn!(
            who,
            "refused: it is configured for cluster \"{name}\", not \"{mine}\""
        );
        Err(Status::failed_precondition(format!(
            "this node is configured for cluster \"{mine}\", not \"{name}\""
        )))
    }

    /// A node that belongs to another cluster has no business here.
    fn same_cluster(&self, id: &[u8], who: &str) -> Result<(), Status> {
        if id.is_empty() {
            return Ok(());
        }
        let asked = cluster_id(id)?;
        match self.0.settled() {
            Some(mine) if mine != asked => {
                tracing::warn!(who, "refused: it belongs to cluster {asked}, not to {mine}");
                Err(Status::failed_precondition(format!(
                    "this node belongs to cluster {mine}, not to {asked}"
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn leader(&self) -> proto::Peer {
        let leader = self.0.leader().unwrap_or_default();
        proto::Peer {
            id: leader.0,
            address: self.0.address_of(leader).unwrap_or_default(),
        }
    }
}

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn hello(
        &self,
        request: Request<proto::HelloRequest>,
    ) -> Result<Response<proto::HelloResponse>, Status> {
        let request = request.into_inner();
        let from = request.from.unwrap_or_default();
        self.same_name(&request.cluster_name, &from.address)?;
        self.same_cluster(&request.cluster_id, &from.address)?;
        let shared = &self.0;
        shared.peers.hear(NodeId(from.id), &from.address);
        let known = shared.addresses().into_iter().take(KNOWN_MAX);
        Ok(Response::new(proto::HelloResponse {
            cluster_name: shared.cluster_name.clone(),
            cluster_id: shared.settled().map(|id| id.0.to_vec()).unwrap_or_default(),
            from: Some(shared.peer()),
            known: known
                .map(|(id, address)| proto::Peer { id: id.0, address })
                .collect(),
            leader: shared.leader().unwrap_or_default().0,
        }))
    }

    async fn pledge(
        &self,
        request: Request<proto::PledgeRequest>,
    ) -> Result<Response<proto::PledgeResponse>, Status> {
        let request = request.into_inner();
        let founder = request.founder.unwrap_or_default();
        self.same_name(&request.cluster_name, &founder.address)?;
        let cluster = cluster_id(&request.cluster_id)?;
        self.0.peers.hear(NodeId(founder.id), &founder.address);
        let given = self.0.bond.give(cluster).await.map_err(stopped)?;
        Ok(Response::new(proto::PledgeResponse {
            given: given.is_ok(),
            reason: given
                .err()
                .map(|reason| reason.to_string())
                .unwrap_or_default(),
        }))
    }

    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinResponse>, Status> {
        let request = request.into_inner();
        let facts: NodeFacts = serde_json::from_slice(&request.facts).map_err(malformed)?;
        if let Some(wrong) = super::facts::wrong(&facts) {
            return Err(malformed(wrong));
        }
        self.same_name(&request.cluster_name, &facts.control)?;
        self.same_cluster(&request.cluster_id, &facts.control)?;
        self.0.peers.hear(facts.id, &facts.control);
        let done = match self.0.leads() {
            true => match super::lead::admit(&self.0, facts).await {
                Admitted::Done => true,
                Admitted::NotNow => false,
                Admitted::Refused(why) => return Err(Status::failed_precondition(why)),
            },
            false => false,
        };
        Ok(Response::new(proto::JoinResponse {
            done,
            leader: Some(self.leader()),
        }))
    }

    async fn report(
        &self,
        request: Request<proto::ReportRequest>,
    ) -> Result<Response<proto::ReportResponse>, Status> {
        let request = request.into_inner();
        let from = request.from.unwrap_or_default();
        self.same_cluster(&request.cluster_id, &from.address)?;
        let (shared, node) = (&self.0, NodeId(from.id));
        shared.peers.hear(node, &from.address);
        let age_ms = shared.quorum_age_ms();
        let state = shared.published.newest();
        let known = state.nodes.contains_key(&node);
        if age_ms.is_some() && known {
            let synced = request.synced.iter().take(SYNCED_MAX);
            let reported = Reported {
                incarnation: request.incarnation,
                synced: synced.filter_map(from_message).collect(),
                unheard: request
                    .unheard
                    .into_iter()
                    .take(UNHEARD_MAX)
                    .map(NodeId)
                    .collect(),
            };
            shared.reports.note(node, reported);
        }
        let leased = age_ms.is_some() && known;
        let leased = leased && shared.granted.lock().grant(node, clock::boot_us());
        Ok(Response::new(proto::ReportResponse {
            leads: age_ms.is_some(),
            quorum_age_ms: age_ms.unwrap_or_default(),
            leader: Some(self.leader()),
            generation: state.generation,
            known,
            leased,
        }))
    }

    async fn propose(
        &self,
        request: Request<proto::ProposeRequest>,
    ) -> Result<Response<proto::ProposeResponse>, Status> {
        let request = request.into_inner();
        self.same_cluster(&request.cluster_id, "a proposal")?;
        if request.command.len() > COMMAND_BYTES_MAX {
            return Err(malformed("the command is too large"));
        }
        let command: Command = serde_json::from_slice(&request.command).map_err(malformed)?;
        let outcome = match self.0.write(command).await {
            Ok(outcome) => serde_json::to_vec(&outcome).map_err(stopped)?,
            Err(super::WriteError::NotLeader) => Vec::new(),
            Err(super::WriteError::InDoubt(why)) => return Err(Status::aborted(why)),
        };
        Ok(Response::new(proto::ProposeResponse {
            outcome,
            leader: Some(self.leader()),
        }))
    }
}
