//! What this node asks of the others' Raft: openraft's calls as gRPC calls, each with a deadline.

use std::sync::Arc;
use std::time::Duration;

use karst_cluster::node::NodeId;
use karst_cluster::raft::{Snapshot, TypeConfig, Vote};
use karst_proto::raft as proto;
use karst_proto::raft::raft_client::RaftClient;
use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::Shared;
use super::peers::Lane;
use super::service::{RAFT_BYTES_MAX, SNAPSHOT_PART_BYTES};

/// Longest append. openraft's own limit, a heartbeat, would never let a large one through a slow disk.
const APPEND_MAX: Duration = Duration::from_millis(1000);

/// Longest wait for a vote: a later answer comes after the election.
const VOTE_MAX: Duration = Duration::from_millis(300);

/// Longest transfer of a snapshot.
const SNAPSHOT_MAX: Duration = Duration::from_secs(10);

/// Makes a [`Link`] to each of the others.
pub(crate) struct Network(pub(crate) Arc<Shared>);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Link {
        Link {
            shared: self.0.clone(),
            target,
            written: node.addr.clone(),
        }
    }
}

/// To one of the others.
pub(crate) struct Link {
    shared: Arc<Shared>,
    target: NodeId,
    /// Its address as the group's membership has it.
    written: String,
}

impl Link {
    fn client(&self) -> Result<RaftClient<Channel>, Status> {
        let address = self.shared.address_of(self.target);
        let address = address.unwrap_or_else(|| self.written.clone());
        let channel = self.shared.peers.channel(Lane::Group, &address);
        let channel = channel.ok_or_else(|| Status::unavailable("its address is not known"))?;
        Ok(RaftClient::new(channel).max_decoding_message_size(RAFT_BYTES_MAX))
    }

    fn request(&self, payload: &impl Serialize) -> Result<proto::RaftRequest, Status> {
        let cluster = self.shared.bond.cluster();
        let cluster = cluster.ok_or_else(|| Status::unavailable("in no cluster"))?;
        let payload = serde_json::to_vec(payload);
        Ok(proto::RaftRequest {
            cluster_id: cluster.0.to_vec(),
            from: self.shared.me.id.0,
            to: self.target.0,
            payload: payload.map_err(|error| Status::internal(error.to_string()))?,
        })
    }

    async fn call<A: DeserializeOwned>(
        &self,
        which: Call,
        payload: &impl Serialize,
        limit: Duration,
    ) -> Result<A, Unreachable<TypeConfig>> {
        let called = async {
            let mut client = self.client()?;
            let mut request = Request::new(self.request(payload)?);
            request.set_timeout(limit);
            let answer = match which {
                Call::Append => client.append(request).await,
                Call::Vote => client.vote(request).await,
                Call::PreVote => client.pre_vote(request).await,
                Call::TransferLeader => client.transfer_leader(request).await,
            };
            answered(answer?.into_inner())
        };
        let called = tokio::time::timeout(limit, called).await;
        let called = called.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
        called.map_err(|status| self.unreachable(&status))
    }

    fn unreachable(&self, status: &Status) -> Unreachable<TypeConfig> {
        tracing::debug!(peer = %self.target, error = %status.message(), "a call of the group failed");
        Unreachable::from_string(status.message())
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<TypeConfig>, Status> {
        let mut head = Some(self.request(&(vote, snapshot.meta))?);
        let mut parts: Vec<_> = snapshot
            .snapshot
            .chunks(SNAPSHOT_PART_BYTES)
            .map(|data| proto::SnapshotPart {
                head: head.take(),
                data: data.to_vec(),
            })
            .collect();
        if head.is_some() {
            parts.push(proto::SnapshotPart {
                head,
                data: Vec::new(),
            });
        }
        let mut request = Request::new(tokio_stream::iter(parts));
        request.set_timeout(SNAPSHOT_MAX);
        answered(self.client()?.install_snapshot(request).await?.into_inner())
    }
}

fn answered<A: DeserializeOwned>(answer: proto::RaftResponse) -> Result<A, Status> {
    let answer = serde_json::from_slice(&answer.payload);
    answer.map_err(|error| Status::internal(format!("the answer cannot be understood: {error}")))
}

#[derive(Clone, Copy)]
enum Call {
    Append,
    Vote,
    PreVote,
    TransferLeader,
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(Call::Append, &request, APPEND_MAX).await?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(Call::Vote, &request, VOTE_MAX).await?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(Call::PreVote, &request, VOTE_MAX).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = tokio::time::timeout(SNAPSHOT_MAX, self.send_snapshot(vote, snapshot));
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = sending => {
                let sent = sent.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
                sent.map_err(|status| self.unreachable(&status).into())
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.call(Call::TransferLeader, &request, VOTE_MAX).await?)
    }
}
