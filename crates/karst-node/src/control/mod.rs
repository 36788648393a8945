//! The control plane: this node's part in the cluster.
//!
//! Owns the Raft group's member on this node (`store`, `machine`, `network`, `service`), finds or founds a
//! cluster (`form`), tells the leader that this node is alive (`report`), and while this node leads, decides
//! who is alive and who serves what (`lead`). All of it runs on one thread with its own runtime, beside the
//! gRPC door; the log's file has another. Data cores are never touched: they read what [`Cluster::snapshot`]
//! shows.
//!
//! ```text
//! start: file opened -> raft -> gRPC door -> cluster id known (kept, joined or founded) -> the node boots on
//! run:   every node --report--> leader --planner--> commands --raft--> state --publish--> every node
//! ```
//!
//! Invariants
//!   what is published is a state that a majority agreed on, and never an older one than before
//!   no message of the group is taken but of the one cluster that this node belongs to (`bond`)
//!
//! When the log cannot be written the process ends: a member that forgets its vote is worse than none.

mod bond;
mod facts;
mod form;
mod lead;
mod machine;
mod network;
mod peers;
mod planner;
mod published;
mod report;
pub(crate) mod service;
mod start;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use karst_cluster::lease::{self, Lease};
use karst_cluster::node::{ClusterId, NodeFacts, NodeId};
use karst_cluster::plan::{self, Synced};
use karst_cluster::raft::TypeConfig;
use karst_cluster::state::{ClusterState, Command, Outcome};
use karst_io::clock;
use karst_proto::raft as proto;
use karst_proto::raft::membership_client::MembershipClient;
use openraft::async_runtime::WatchReceiver as _;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{Instant as _, RaftMetrics};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tonic::Status;
use tonic::transport::Channel;

use self::bond::Bond;
use self::machine::StateMachine;
use self::peers::{Lane, Peers};
use self::published::Published;
use self::report::{Outbox, Reports};

pub use self::planner::available as available_planner;
pub use self::start::{Control, ControlError, Start};

/// Largest command: a change of thousands of partitions is split below this, and the text of a module of functions
/// fits in as base64.
pub const COMMAND_BYTES_MAX: usize = 3 << 19;

/// Proposals that wait at a time; one more is told to come back.
const PROPOSALS_MAX: usize = 256;

/// Longest wait for a proposal's outcome: a change of the leader fits in.
const PROPOSE_MAX: Duration = Duration::from_secs(5);

/// Pause before a proposal is tried again where no leader is known.
const PROPOSE_PAUSE: Duration = Duration::from_millis(50);

/// Decides what the cluster should change, from its state, who was heard of lately, and what primaries report.
/// Pure; the leader runs it many times a second.
pub type Planner =
    Arc<dyn Fn(&ClusterState, &plan::Heard, &[Synced]) -> Vec<Command> + Send + Sync>;

type Raft = openraft::Raft<TypeConfig, StateMachine>;

/// Why a proposal has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Too many wait: come back later. Nothing was proposed.
    #[error("{PROPOSALS_MAX} proposals are waiting already")]
    Busy,
    /// No leader was found in time. Nothing was proposed.
    #[error("no leader was found within {PROPOSE_MAX:?}")]
    NoLeader,
    /// The command is too large. Nothing was proposed.
    #[error("the command has {bytes} bytes, at most {COMMAND_BYTES_MAX} are taken")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// It may have been applied, or may be yet: look at the state before trying again.
    #[error("it may have been applied: {0}")]
    InDoubt(String),
    /// This node is about to stop.
    #[error("the node is stopping")]
    Stopping,
}

/// What became of a command at a node that may lead.
pub(crate) enum WriteError {
    /// It does not. Nothing was proposed.
    NotLeader,
    /// It may have been applied.
    InDoubt(String),
}

/// Figures of the group, for people and scrapers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftFigures {
    /// Counts elections.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The newest entry known to be agreed on.
    pub commit_index: u64,
    /// Whether this node votes.
    pub votes: bool,
}

/// Who is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Nodes that count as alive, by the newest state known here.
    pub alive: BTreeSet<NodeId>,
    /// How long ago this node last knew to be in touch with a majority, measured from when it asked; `None`
    /// if it never was.
    pub contact_age: Option<Duration>,
    /// Whether that is within the suspicion time: otherwise the others may have given this node up.
    pub in_touch: bool,
}

/// The lease that this node holds. One task renews it, and everybody reads it.
#[derive(Default)]
struct Held {
    until_us: AtomicU64,
    generation: AtomicU64,
    /// None is taken. Held while anything of this changes.
    refused: Mutex<bool>,
}

impl Held {
    fn renew(&self, until_us: u64, generation: u64) {
        let refused = self.refused.lock();
        if *refused {
            return;
        }
        let mut lease = Lease {
            until_us: self.until_us.load(Ordering::Acquire),
            generation: self.generation.load(Ordering::Acquire),
        };
        lease.renew(until_us, generation);
        // In this order: who sees the later end sees the later generation, too.
        self.generation.store(lease.generation, Ordering::Release);
        self.until_us.store(lease.until_us, Ordering::Release);
    }

    fn refuse(&self, none: bool) {
        let mut refused = self.refused.lock();
        *refused = none;
        self.until_us.store(0, Ordering::Release);
    }

    fn get(&self) -> Lease {
        let until_us = self.until_us.load(Ordering::Acquire);
        Lease {
            until_us,
            generation: self.generation.load(Ordering::Acquire),
        }
    }
}

/// Everything the control plane's parts share.
pub(crate) struct Shared {
    pub(crate) me: NodeFacts,
    pub(crate) cluster_name: String,
    pub(crate) suspect_after: Duration,
    /// The cluster that `data_dir` says this node is in.
    pub(crate) known_cluster: Option<ClusterId>,
    pub(crate) published: Arc<Published>,
    pub(crate) bond: Bond,
    pub(crate) peers: Peers,
    pub(crate) reports: Reports,
    pub(crate) outbox: Outbox,
    /// Whom this node does not hear on the fabric.
    pub(crate) unheard: Mutex<BTreeSet<NodeId>>,
    /// Whether this node can serve what it is given: until then it does not say that it is alive.
    pub(crate) serves: AtomicBool,
    /// When this node last asked something that showed it in touch with a majority; 0 for never.
    pub(crate) contact_us: AtomicU64,
    lease: Held,
    /// While this node leads the group: the leases that it has granted.
    pub(crate) granted: Mutex<lease::Granted>,
    raft: OnceLock<Raft>,
    runtime: OnceLock<Handle>,
    proposals: Arc<Semaphore>,
}

impl Shared {
    fn raft(&self) -> Result<&Raft, Status> {
        let raft = self.raft.get();
        raft.ok_or_else(|| Status::unavailable("this node is starting"))
    }

    pub(crate) fn metrics(&self) -> Option<RaftMetrics<TypeConfig>> {
        let raft = self.raft.get()?;
        Some(raft.metrics().borrow_watched().clone())
    }

    /// The cluster that this node is known to be in: a word given to a founder does not count yet.
    pub(crate) fn settled(&self) -> Option<ClusterId> {
        self.published.newest().cluster.or(self.known_cluster)
    }

    fn peer(&self) -> proto::Peer {
        proto::Peer {
            id: self.me.id.0,
            address: self.me.control.clone(),
        }
    }

    /// Where a node is: by what was heard of it, or by the state.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<String> {
        self.peers.address(node).or_else(|| {
            let state = self.published.newest();
            let member = state.nodes.get(&node);
            member.map(|member| member.facts.control.clone())
        })
    }

    /// Where every other node is.
    pub(crate) fn addresses(&self) -> BTreeMap<NodeId, String> {
        let state = self.published.newest();
        let members = state.nodes.iter();
        let mut all: BTreeMap<_, _> = members
            .map(|(id, member)| (*id, member.facts.control.clone()))
            .collect();
        all.extend(self.peers.known());
        all.remove(&self.me.id);
        all
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.metrics()?.current_leader
    }

    pub(crate) fn leads(&self) -> bool {
        self.leader() == Some(self.me.id)
    }

    /// While this node leads: how long ago it knew that a majority follows it, if that is not too long.
    pub(crate) fn quorum_age_ms(&self) -> Option<u64> {
        let metrics = self.metrics()?;
        if metrics.current_leader != Some(self.me.id) {
            return None;
        }
        let mut voters = metrics.membership_config.voter_ids();
        if voters.next() == Some(self.me.id) && voters.next().is_none() {
            return Some(0); // it is the majority itself
        }
        let age = metrics.last_quorum_acked?.into_inner().elapsed();
        (age < self.suspect_after).then_some(age.as_millis() as u64)
    }

    /// Notes that this node asked a leader then, which knew of its majority so long before, and the generation of
    /// its state if it granted a lease.
    pub(crate) fn touch(&self, asked_us: u64, quorum_age_ms: u64, leased: Option<u64>) {
        let age_us = quorum_age_ms.saturating_mul(1000);
        self.contact_us
            .fetch_max(asked_us.saturating_sub(age_us), Ordering::AcqRel);
        if let Some(generation) = leased {
            let until_us = lease::lasts_until(asked_us, age_us, self.suspect_us());
            self.lease.renew(until_us, generation);
        }
    }

    /// The suspicion time in microseconds.
    pub(crate) fn suspect_us(&self) -> u64 {
        self.suspect_after.as_micros() as u64
    }

    fn membership(&self, address: &str) -> Result<MembershipClient<Channel>, Status> {
        self.client(Lane::Membership, address)
    }

    fn client(&self, lane: Lane, address: &str) -> Result<MembershipClient<Channel>, Status> {
        let channel = self.peers.channel(lane, address);
        let channel = channel.ok_or_else(|| Status::unavailable("this is no address"))?;
        Ok(MembershipClient::new(channel).max_decoding_message_size(service::MEMBERSHIP_BYTES_MAX))
    }

    fn cluster_bytes(&self) -> Vec<u8> {
        let cluster = self.settled().or_else(|| self.bond.cluster());
        cluster
            .map(|cluster| cluster.0.to_vec())
            .unwrap_or_default()
    }

    /// Has the group apply a command, if this node leads it.
    pub(crate) async fn write(&self, command: Command) -> Result<Outcome, WriteError> {
        let Ok(raft) = self.raft() else {
            return Err(WriteError::NotLeader);
        };
        match raft.client_write(command).await {
            Ok(written) => Ok(written.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(WriteError::NotLeader)
            }
            Err(error) => Err(WriteError::InDoubt(error.to_string())),
        }
    }

    /// Has the leader apply a command, whoever that is.
    async fn forward(&self, command: Command) -> Result<Outcome, ProposeError> {
        let bytes = serde_json::to_vec(&command);
        let bytes = bytes.map_err(|error| ProposeError::InDoubt(error.to_string()))?;
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes: bytes.len() });
        }
        let deadline = tokio::time::Instant::now() + PROPOSE_MAX;
        loop {
            let tried = tokio::time::timeout_at(deadline, self.try_forward(&command, &bytes)).await;
            let late = || WriteError::InDoubt("no answer in time".into());
            match tried.unwrap_or_else(|_| Err(late())) {
                Ok(outcome) => return Ok(outcome),
                Err(WriteError::InDoubt(why)) => return Err(ProposeError::InDoubt(why)),
                Err(WriteError::NotLeader) => tokio::time::sleep(PROPOSE_PAUSE).await,
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(ProposeError::NoLeader);
            }
        }
    }

    async fn try_forward(&self, command: &Command, bytes: &[u8]) -> Result<Outcome, WriteError> {
        let Some(leader) = self.leader() else {
            return Err(WriteError::NotLeader);
        };
        if leader == self.me.id {
            return self.write(command.clone()).await;
        }
        let address = self.address_of(leader).ok_or(WriteError::NotLeader)?;
        let client = self.client(Lane::Proposals, &address);
        let mut client = client.map_err(|_| WriteError::NotLeader)?;
        let request = proto::ProposeRequest {
            cluster_id: self.cluster_bytes(),
            command: bytes.to_vec(),
        };
        let answer = client.propose(request).await;
        let answer = answer.map_err(|status| WriteError::InDoubt(status.message().to_owned()))?;
        match answer.into_inner().outcome {
            outcome if outcome.is_empty() => Err(WriteError::NotLeader),
            outcome => serde_json::from_slice(&outcome)
                .map_err(|error| WriteError::InDoubt(error.to_string())),
        }
    }
}

/// What the rest of the node gets of the cluster. Clones are cheap and see the same.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

impl Cluster {
    /// The state as last applied here. Takes no lock, may be called for every request.
    pub fn snapshot(&self) -> Arc<ClusterState> {
        self.0.published.newest()
    }

    /// Says that this node can serve what it is given from now on, or that it cannot any more.
    pub fn set_serves(&self, serves: bool) {
        self.0.serves.store(serves, Ordering::Release);
    }

    /// Tells of every change of the state; who is slow sees the newest alone.
    pub fn changes(&self) -> watch::Receiver<Arc<ClusterState>> {
        self.0.published.changes()
    }

    /// Has the cluster's leader apply a command. May be called on any runtime.
    ///
    /// # Errors
    /// When there is no outcome; only [`ProposeError::InDoubt`] leaves open whether it was applied.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let place = self.0.proposals.clone().try_acquire_owned();
        let place = place.map_err(|_| ProposeError::Busy)?;
        let runtime = self.0.runtime.get().ok_or(ProposeError::NoLeader)?;
        let shared = self.0.clone();
        let forwarding = runtime.spawn(async move {
            let _place = place;
            shared.forward(command).await
        });
        forwarding.await.unwrap_or(Err(ProposeError::Stopping))
    }

    /// Who leads the group, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.leader()
    }

    /// If this node leads the group, asks another voter that stays to lead it. Whether that comes about shows
    /// in [`Cluster::leader`].
    pub async fn step_down(&self) {
        let shared = self.0.clone();
        let (Some(runtime), true) = (self.0.runtime.get(), shared.leads()) else {
            return;
        };
        let asking = runtime.spawn(async move {
            let state = shared.published.newest();
            let stays = |id: &NodeId| {
                let member = state.nodes.get(id);
                *id != shared.me.id && member.is_some_and(|it| it.alive && !it.stopping)
            };
            let metrics = shared.metrics();
            let voters = metrics
                .iter()
                .flat_map(|it| it.membership_config.voter_ids());
            if let (Some(to), Ok(raft)) = (voters.filter(stays).min(), shared.raft()) {
                let _ = raft.trigger().transfer_leader(to).await; // else they elect one by themselves
            }
        });
        let _ = asking.await; // a task that is gone has nothing to tell
    }

    /// Figures of the group.
    pub fn figures(&self) -> RaftFigures {
        let Some(metrics) = self.0.metrics() else {
            return RaftFigures::default();
        };
        let me = self.0.me.id;
        RaftFigures {
            term: metrics.current_term,
            leader: metrics.current_leader,
            commit_index: metrics.local_committed.map_or(0, |log_id| log_id.index),
            votes: metrics.membership_config.voter_ids().any(|id| id == me),
        }
    }

    /// Tells the leader what a node holds of a partition, again and again until the state shows it, or
    /// has moved on to another regime. Never blocks. Too many at a time are dropped: their primaries
    /// find out again.
    pub fn report_synced(&self, synced: Synced) {
        self.0.outbox.add(synced);
    }

    /// The lease under which nobody else leads what this node leads, on [`clock::boot_us`]; one that has ended if
    /// there is none.
    pub fn lease(&self) -> Lease {
        match self.0.serves.load(Ordering::Acquire) {
            true => self.0.lease.get(),
            false => Lease::default(),
        }
    }

    /// Gives up the lease that this node holds, and takes no other one until it is said to.
    pub fn hold_no_lease(&self, none: bool) {
        self.0.lease.refuse(none);
    }

    /// Says whom this node does not hear on the fabric of those that count as alive.
    pub fn set_unheard(&self, unheard: BTreeSet<NodeId>) {
        *self.0.unheard.lock() = unheard;
    }

    /// Who is alive, and whether this node itself is in touch with a majority.
    pub fn heard(&self) -> Heard {
        let state = self.snapshot();
        let alive = state.nodes.iter().filter(|(_, member)| member.alive);
        let contact_us = self.0.contact_us.load(Ordering::Acquire);
        let age_us = clock::boot_us().saturating_sub(contact_us);
        let contact_age = (contact_us != 0).then_some(Duration::from_micros(age_us));
        Heard {
            alive: alive.map(|(id, _)| *id).collect(),
            contact_age,
            in_touch: contact_age.is_some_and(|age| age < self.0.suspect_after),
        }
    }

    /// What this node tells the cluster of itself.
    pub fn me(&self) -> &NodeFacts {
        &self.0.me
    }

    /// A cluster that nothing runs: it shows one state and takes no proposals. For tests of whoever looks.
    #[cfg(test)]
    pub(crate) fn standing(me: NodeFacts, state: ClusterState) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store::Store::open(&folder.path().join("raft.redb")).unwrap();
        let published = Arc::new(Published::default());
        published.publish(Arc::new(state));
        let bond = Bond::new(None, false, store);
        let shared = Shared::new(
            "test".into(),
            me,
            Duration::from_secs(1),
            None,
            published,
            bond,
        );
        Cluster(Arc::new(shared))
    }
}

impl Shared {
    fn new(
        cluster_name: String,
        me: NodeFacts,
        suspect_after: Duration,
        known_cluster: Option<ClusterId>,
        published: Arc<Published>,
        bond: Bond,
    ) -> Shared {
        Shared {
            me,
            cluster_name,
            suspect_after,
            known_cluster,
            published,
            bond,
            peers: Peers::default(),
            reports: Reports::default(),
            outbox: Outbox::default(),
            unheard: Mutex::default(),
            serves: AtomicBool::new(false),
            contact_us: AtomicU64::new(0),
            lease: Held::default(),
            granted: Mutex::default(),
            raft: OnceLock::new(),
            runtime: OnceLock::new(),
            proposals: Arc::new(Semaphore::new(PROPOSALS_MAX)),
        }
    }
}

#[cfg(test)]
mod tests;
