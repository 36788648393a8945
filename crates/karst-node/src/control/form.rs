//! Finds or founds the cluster of a node that has none: says hello, decides (`karst_cluster::formation`), acts.
//!
//! A node that was refused by one of its seeds ends with that as its error: a wrong name or another cluster's
//! data do not mend themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use karst_cluster::formation::{self, Answer, Step, Wish};
use karst_cluster::node::{ClusterId, NodeId};
use karst_cluster::state::ClusterState;
use karst_proto::raft as proto;
use openraft::BasicNode;
use tokio::time::{sleep, timeout};

use super::report::{Hello, hello, is_final, join_through};
use super::{ControlError, Shared};
use crate::data_dir;

/// Pause between two rounds of hellos.
const ROUND_EVERY: Duration = Duration::from_millis(200);

/// Longest wait for another node's word.
const PLEDGE_MAX: Duration = Duration::from_secs(1);

/// How long a node that joined waits for the state before it joins anew.
const STATE_MAX: Duration = Duration::from_secs(3);

/// Rounds after which a waiting node says what it waits for.
const SAY_EVERY: u32 = 50;

/// What a node was told about finding others.
pub(crate) struct Search {
    pub(crate) seeds: Vec<String>,
    pub(crate) expect: usize,
}

/// Comes to a cluster, and returns its id.
pub(crate) async fn form(shared: Arc<Shared>, search: &Search) -> Result<ClusterId, ControlError> {
    let begun = shared.has_begun().await?;
    match shared.known_cluster {
        Some(known) if begun => Ok(known),
        Some(known) => {
            found(&shared, known, &[shared.me.id]).await?;
            Ok(known)
        }
        None if begun => wait_for_state(&shared).await,
        None => seek(shared, search).await,
    }
}

async fn wait_for_state(shared: &Shared) -> Result<ClusterId, ControlError> {
    let mut changes = shared.published.changes();
    let is_founded = |state: &Arc<ClusterState>| state.cluster.is_some();
    let state = changes.wait_for(is_founded).await;
    let state = state.map_err(|_| ControlError::Ended)?;
    state.cluster.ok_or(ControlError::Ended)
}

async fn seek(shared: Arc<Shared>, search: &Search) -> Result<ClusterId, ControlError> {
    let mut wish = Wish {
        id: shared.me.id,
        expect: search.expect,
        has_seeds: !search.seeds.is_empty(),
    };
    let mine = data_dir::draw_cluster().map_err(ControlError::Random)?;
    for round in 0.. {
        if shared.has_begun().await? {
            return wait_for_state(&shared).await; // a founder counted on this node
        }
        let (answers, own) = ask_around(&shared, search).await?;
        wish.has_seeds = search.seeds.iter().any(|seed| !own.contains(seed));
        let known: Vec<Answer> = answers.values().copied().collect();
        let done = match formation::decide(&wish, &known) {
            Step::Join(cluster) => join(&shared, cluster, &answers).await?,
            Step::Found(members) => propose_founding(&shared, mine, &members).await?,
            Step::Torn(a, b) => return Err(ControlError::Torn(a, b)),
            Step::Wait => false,
        };
        if done && let Ok(founded) = timeout(STATE_MAX, wait_for_state(&shared)).await {
            return founded;
        }
        if round % SAY_EVERY == SAY_EVERY - 1 {
            say(&wish, known.len());
        }
        sleep(ROUND_EVERY).await;
    }
    unreachable!("a search ends with a cluster or an error")
}

fn say(wish: &Wish, answered: usize) {
    let expect = wish.expect;
    if expect <= 1 {
        tracing::info!(answered, "waiting: no seed is in a cluster yet");
    } else {
        tracing::info!(
            answered,
            expect,
            "waiting for enough nodes to form a cluster"
        );
    }
}

/// Answers by address, of everybody but this node, and where it met itself.
async fn ask_around(
    shared: &Arc<Shared>,
    search: &Search,
) -> Result<(BTreeMap<String, Answer>, BTreeSet<String>), ControlError> {
    let mut addresses: BTreeSet<String> = shared.addresses().into_values().collect();
    addresses.extend(search.seeds.iter().cloned());
    let (mut answers, mut own) = (BTreeMap::new(), BTreeSet::new());
    for heard in hello(shared, addresses).await {
        match heard {
            Hello::Refused { address, why } if search.seeds.contains(&address) => {
                return Err(ControlError::Refused { address, why });
            }
            Hello::Refused { address, why } => {
                tracing::warn!(address, why, "a node refuses to talk to this one");
            }
            Hello::Answered { address, answer } => {
                let id = NodeId(answer.from.unwrap_or_default().id);
                let cluster = <[u8; 16]>::try_from(answer.cluster_id).ok().map(ClusterId);
                if id == shared.me.id {
                    own.insert(address);
                } else {
                    answers.insert(address, Answer { id, cluster });
                }
            }
        }
    }
    Ok((answers, own))
}

/// Whether this node was taken into a cluster.
async fn join(
    shared: &Shared,
    cluster: ClusterId,
    answers: &BTreeMap<String, Answer>,
) -> Result<bool, ControlError> {
    if let Err(elsewhere) = shared.bond.give(cluster).await.map_err(ControlError::Log)? {
        tracing::info!(%cluster, %elsewhere, "joining has to wait");
        return Ok(false);
    }
    let members = answers
        .iter()
        .filter(|(_, answer)| answer.cluster.is_some());
    for (address, _) in members {
        let joined = join_through(shared, address).await;
        let refused = |status: tonic::Status| ControlError::Refused {
            address: address.clone(),
            why: status.message().to_owned(),
        };
        if joined.map_err(refused)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks all the others for their word, and founds the cluster if they give it. Whether it was founded.
async fn propose_founding(
    shared: &Shared,
    cluster: ClusterId,
    members: &[NodeId],
) -> Result<bool, ControlError> {
    if let Err(elsewhere) = shared.bond.give(cluster).await.map_err(ControlError::Log)? {
        tracing::info!(%elsewhere, "founding a cluster has to wait");
        return Ok(false);
    }
    let others = members.iter().filter(|id| **id != shared.me.id);
    let words = others.map(|id| pledge(shared, cluster, *id));
    let words = futures_util::future::join_all(words).await;
    if !words.into_iter().all(|given| given) {
        return Ok(false);
    }
    found(shared, cluster, members).await?;
    Ok(true)
}

async fn pledge(shared: &Shared, cluster: ClusterId, node: NodeId) -> bool {
    let asked = async {
        let mut client = shared.membership(&shared.address_of(node)?).ok()?;
        let request = proto::PledgeRequest {
            cluster_name: shared.cluster_name.clone(),
            cluster_id: cluster.0.to_vec(),
            founder: Some(shared.peer()),
        };
        match client.pledge(request).await {
            Ok(answer) => Some(answer.into_inner()),
            Err(status) => {
                if is_final(&status) {
                    tracing::warn!(%node, why = status.message(), "a node will not found a cluster");
                }
                None
            }
        }
    };
    match timeout(PLEDGE_MAX, asked).await.ok().flatten() {
        Some(answer) if answer.given => true,
        Some(answer) => {
            tracing::info!(%node, why = answer.reason, "a node does not give its word yet");
            false
        }
        None => false,
    }
}

/// Forms the group. Its leader then gives the cluster its id, and each node joins by itself.
async fn found(
    shared: &Shared,
    cluster: ClusterId,
    members: &[NodeId],
) -> Result<(), ControlError> {
    if let Err(elsewhere) = shared.bond.keep(cluster) {
        return Err(ControlError::Group(elsewhere.to_string()));
    }
    let address = |id: &NodeId| match *id == shared.me.id {
        true => Some(shared.me.control.clone()),
        false => shared.address_of(*id),
    };
    let nodes = members.iter();
    let nodes = nodes.map(|id| (*id, BasicNode::new(address(id).unwrap_or_default())));
    let nodes: BTreeMap<NodeId, BasicNode> = nodes.collect();
    tracing::info!(%cluster, nodes = nodes.len(), "a cluster is founded");
    let raft = shared.raft().map_err(|_| ControlError::Ended)?;
    let begun = raft.initialize(nodes).await;
    begun.map_err(|error| ControlError::Group(error.to_string()))
}
