//! I am here: every node to the leader, many times a second, and what the leader remembers of it.
//!
//! The answer of a leader that a majority follows shows this node in touch with it, counted from when it asked.
//! A node that has lost sight of the leader asks everybody it knows, and its seeds, where the others are now.
//! A node whose state shows something else of it than it says now, joins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use karst_cluster::map::Regime;
use karst_cluster::node::NodeId;
use karst_cluster::plan::{Holds, Synced};
use karst_cluster::state::ClusterState;
use karst_data::key::PARTITIONS;
use karst_io::clock;
use karst_proto::raft as proto;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Code, Status};

use super::Shared;
use super::lead::{self, Admitted};
use super::service::SYNCED_MAX;

/// Time between two reports, unless there is something new to tell.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// How long something new waits for more to be told with it.
const GATHER_FOR: Duration = Duration::from_millis(10);

/// Longest wait for an answer to a report.
const REPORT_MAX: Duration = Duration::from_millis(300);

/// Longest wait for an answer to another question.
const ASK_MAX: Duration = Duration::from_secs(2);

/// Reports without an answer after which others are asked where everybody is.
const LOST_AFTER: u32 = 10;

/// Complete copies that wait to be told; more are found out again by their primaries.
const OUTBOX_MAX: usize = 8192;

/// What a node last told the leader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reported {
    /// Drawn when its process started.
    pub(crate) incarnation: u64,
    /// Copies that it knows to be complete.
    pub(crate) synced: Vec<Synced>,
    /// Whom it does not hear on the fabric.
    pub(crate) unheard: BTreeSet<NodeId>,
}

/// What the leader remembers of reports; only of members, so of few.
#[derive(Default)]
pub(crate) struct Reports {
    last: Mutex<BTreeMap<NodeId, (u64, Reported)>>,
    /// Something was reported from which something may follow.
    pub(crate) news: News,
}

/// There is something new.
#[derive(Default)]
pub(crate) struct News(Notify);

impl News {
    fn tell(&self) {
        self.0.notify_one();
    }

    /// Waits for something new, and a little longer for what comes with it.
    pub(crate) async fn gathered(&self) {
        self.0.notified().await;
        tokio::time::sleep(GATHER_FOR).await;
    }
}

/// What reports of late come to.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Who reported.
    pub(crate) heard: BTreeSet<NodeId>,
    /// Complete copies.
    pub(crate) synced: Vec<Synced>,
    /// Whom each does not hear, where there is somebody.
    pub(crate) unheard: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl Reports {
    /// A member reported.
    pub(crate) fn note(&self, node: NodeId, reported: Reported) {
        let incarnation = reported.incarnation;
        let mut last = self.last.lock();
        let before = last.insert(node, (clock::boot_us(), reported));
        let before = before.map(|(_, before)| before);
        let told = before.as_ref().map(|before| &before.synced);
        let (_, now) = &last[&node];
        if !now.synced.is_empty() && told != Some(&now.synced) {
            self.news.tell();
        }
        if before.is_some_and(|before| before.incarnation != incarnation) {
            tracing::info!(%node, "a node has restarted within the suspicion time");
        }
    }

    /// Forgets all: another node leads.
    pub(crate) fn clear(&self) {
        self.last.lock().clear();
    }

    /// What was reported within this time. Older reports are forgotten.
    pub(crate) fn gather(&self, within: Duration) -> Gathered {
        let since_us = clock::boot_us().saturating_sub(within.as_micros() as u64);
        let mut reports = self.last.lock();
        reports.retain(|_, (at_us, _)| *at_us >= since_us);
        let mut gathered = Gathered::default();
        for (node, (_, reported)) in reports.iter() {
            gathered.heard.insert(*node);
            gathered.synced.extend(reported.synced.iter().cloned());
            if !reported.unheard.is_empty() {
                gathered.unheard.insert(*node, reported.unheard.clone());
            }
        }
        gathered
    }
}

/// What this node has to tell.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: Mutex<BTreeSet<Synced>>,
    news: News,
}

impl Outbox {
    /// One complete copy more.
    pub(crate) fn add(&self, synced: Synced) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < OUTBOX_MAX && waiting.insert(synced) {
            self.news.tell();
        }
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// What the next report says, without what the state shows already or has moved past.
    fn next(&self, state: &ClusterState) -> Vec<Synced> {
        let mut waiting = self.waiting.lock();
        waiting.retain(|synced| is_news(state, synced));
        let next = waiting.iter().take(SYNCED_MAX).cloned();
        next.collect()
    }
}

/// Reads what a node reports; `None` if it is nothing.
pub(crate) fn from_message(message: &proto::Synced) -> Option<Synced> {
    let partition = u16::try_from(message.partition).ok();
    let partition = partition.filter(|number| usize::from(*number) < PARTITIONS)?;
    Some(Synced {
        namespace: message.namespace.clone(),
        partition,
        regime: Regime(message.regime),
        node: NodeId(message.node),
        holds: match message.lacks {
            true => Holds::Less,
            false => Holds::All,
        },
    })
}

fn to_message(synced: &Synced) -> proto::Synced {
    proto::Synced {
        namespace: synced.namespace.clone(),
        partition: u32::from(synced.partition),
        regime: synced.regime.0,
        node: synced.node.0,
        lacks: synced.holds == Holds::Less,
    }
}

fn is_news(state: &ClusterState, synced: &Synced) -> bool {
    let map = state.maps.get(&synced.namespace);
    let partition = map.and_then(|map| map.partitions.get(usize::from(synced.partition)));
    partition.is_some_and(|partition| synced.is_news(partition))
}

/// Reports until the runtime ends.
pub(crate) async fn report(shared: Arc<Shared>, seeds: Vec<String>) {
    let mut ticks = interval(REPORT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silent = 0;
    let mut was_member = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.outbox.news.gathered() => {}
        }
        let state = shared.published.newest();
        shared.peers.read(&state);
        was_member |= state.nodes.contains_key(&shared.me.id);
        if shared.settled().is_none() || !shared.serves.load(Ordering::Acquire) {
            continue; // it looks for a cluster yet, or recovers what it holds
        }
        match report_once(&shared).await {
            Some(known) => {
                silent = 0;
                if !known && std::mem::take(&mut was_member) {
                    tracing::warn!(
                        "this node was removed from the cluster: it joins as a new one, and what it holds gives \
                         way to what the others hold"
                    );
                }
                if !known || !is_as_told(&shared) {
                    let _ = join(&shared).await; // the next report finds out
                }
            }
            None => silent += 1,
        }
        if silent >= LOST_AFTER {
            silent = 0;
            look_around(&shared, &seeds).await;
        }
    }
}

fn is_as_told(shared: &Shared) -> bool {
    let state = shared.published.newest();
    let member = state.nodes.get(&shared.me.id);
    member.is_some_and(|member| member.facts == shared.me)
}

/// Whether the leader knows this node; `None` if no leader answered.
async fn report_once(shared: &Shared) -> Option<bool> {
    let state = shared.published.newest();
    let synced = shared.outbox.next(&state);
    let unheard = shared.unheard.lock().clone();
    let asked_us = clock::boot_us();
    let leader = shared.leader()?;
    if leader == shared.me.id {
        let age_ms = shared.quorum_age_ms()?;
        let leased = shared.granted.lock().grant(leader, clock::boot_us());
        shared.touch(asked_us, age_ms, leased.then_some(state.generation));
        let reported = Reported {
            incarnation: shared.me.incarnation,
            synced,
            unheard,
        };
        shared.reports.note(leader, reported);
        return Some(state.nodes.contains_key(&leader));
    }
    let request = proto::ReportRequest {
        cluster_id: shared.cluster_bytes(),
        from: Some(shared.peer()),
        incarnation: shared.me.incarnation,
        synced: synced.iter().map(to_message).collect(),
        unheard: unheard.into_iter().map(|node| node.0).collect(),
    };
    let mut client = shared.membership(&shared.address_of(leader)?).ok()?;
    let answer = timeout(REPORT_MAX, client.report(request)).await.ok()?;
    let answer = answer.ok()?.into_inner();
    if !answer.leads {
        return None;
    }
    let leased = answer.leased.then_some(answer.generation);
    shared.touch(asked_us, answer.quorum_age_ms, leased);
    Some(answer.known)
}

/// Becomes a member, or tells the leader what is new of this node. Whether that is done.
///
/// # Errors
/// When the node that should know refuses for good.
pub(crate) async fn join(shared: &Shared) -> Result<bool, Status> {
    if shared.leads() {
        return match lead::admit(shared, shared.me.clone()).await {
            Admitted::Done => Ok(true),
            Admitted::NotNow => Ok(false),
            Admitted::Refused(why) => Err(Status::failed_precondition(why)),
        };
    }
    let leader = shared.leader().and_then(|leader| shared.address_of(leader));
    let mut all: Vec<_> = leader.into_iter().collect();
    all.extend(shared.addresses().into_values());
    for address in all {
        if join_through(shared, &address).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks one node, and the leader that it names.
pub(crate) async fn join_through(shared: &Shared, address: &str) -> Result<bool, Status> {
    let facts = serde_json::to_vec(&shared.me);
    let request = proto::JoinRequest {
        cluster_name: shared.cluster_name.clone(),
        cluster_id: shared.cluster_bytes(),
        facts: facts.map_err(|error| Status::internal(error.to_string()))?,
    };
    let Some(answer) = ask_to_join(shared, address, request.clone()).await? else {
        return Ok(false);
    };
    let leader = answer.leader.unwrap_or_default();
    if answer.done || leader.id == 0 || leader.address == address {
        return Ok(answer.done);
    }
    shared.peers.hear_of(NodeId(leader.id), &leader.address);
    let answer = ask_to_join(shared, &leader.address, request).await?;
    Ok(answer.is_some_and(|answer| answer.done))
}

async fn ask_to_join(
    shared: &Shared,
    address: &str,
    request: proto::JoinRequest,
) -> Result<Option<proto::JoinResponse>, Status> {
    let Ok(mut client) = shared.membership(address) else {
        return Ok(None);
    };
    match timeout(ASK_MAX, client.join(request)).await {
        Ok(Ok(answer)) => Ok(Some(answer.into_inner())),
        Ok(Err(status)) if is_final(&status) => Err(status),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Whether asking again would bring the same answer.
pub(crate) fn is_final(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::FailedPrecondition | Code::InvalidArgument
    )
}

/// Asks everybody known, and the seeds, where the others are.
async fn look_around(shared: &Arc<Shared>, seeds: &[String]) {
    let mut all: BTreeSet<String> = shared.addresses().into_values().collect();
    all.extend(seeds.iter().cloned());
    for heard in hello(shared, all).await {
        if let Hello::Refused { address, why } = heard {
            tracing::warn!(
                address,
                why,
                "a node that was asked for the cluster refuses"
            );
        }
    }
}

/// What came of a hello.
pub(crate) enum Hello {
    /// It answered.
    Answered {
        /// Where.
        address: String,
        /// What.
        answer: proto::HelloResponse,
    },
    /// It will not talk to this node.
    Refused {
        /// Who.
        address: String,
        /// Why.
        why: String,
    },
}

/// Says hello to each, all at once; those that do not answer are left out. What they know is remembered.
pub(crate) async fn hello(shared: &Arc<Shared>, addresses: BTreeSet<String>) -> Vec<Hello> {
    let calls = addresses
        .into_iter()
        .map(|address| hello_one(shared, address));
    let heard = futures_util::future::join_all(calls).await;
    heard.into_iter().flatten().collect()
}

async fn hello_one(shared: &Shared, address: String) -> Option<Hello> {
    let mut client = shared.membership(&address).ok()?;
    let request = proto::HelloRequest {
        cluster_name: shared.cluster_name.clone(),
        cluster_id: shared.settled().map(|id| id.0.to_vec()).unwrap_or_default(),
        from: Some(shared.peer()),
    };
    match timeout(ASK_MAX, client.hello(request)).await.ok()? {
        Ok(answer) => {
            let answer = answer.into_inner();
            let from = answer.from.clone().unwrap_or_default();
            if from.id != shared.me.id.0 {
                shared.peers.hear(NodeId(from.id), &from.address);
            }
            for peer in answer.known.iter().filter(|peer| peer.id != shared.me.id.0) {
                shared.peers.hear_of(NodeId(peer.id), &peer.address);
            }
            Some(Hello::Answered { address, answer })
        }
        Err(status) if is_final(&status) => Some(Hello::Refused {
            address,
            why: status.message().to_owned(),
        }),
        Err(_) => None,
    }
}
