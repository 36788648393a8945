//! What the leader does: admits nodes, keeps enough voters, decides who is alive and who serves what.
//!
//! A leader that was just elected has heard nobody yet: for one suspicion time everybody that was alive goes
//! on counting as heard. It decides nothing on a state that it has not caught up with, nor without a majority.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use karst_cluster::member::who_hear_each_other;
use karst_cluster::node::{NodeFacts, NodeId};
use karst_cluster::plan;
use karst_cluster::raft::{TypeConfig, voters};
use karst_cluster::state::{Command, Outcome};
use karst_io::clock;
use openraft::{BasicNode, ChangeMembers, RaftMetrics};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Planner, Shared, WriteError};

/// Time between two looks at who is there, unless something was reported.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Time between two looks at who votes.
const TEND_EVERY: Duration = Duration::from_millis(300);

/// Longest wait for one of the leader's own changes; it is decided anew then.
const CHANGE_MAX: Duration = Duration::from_secs(2);

/// Commands of one plan that are carried out before the next look.
const PLAN_MAX: usize = 64;

/// Of those, how many are proposed before the first has come into force: they share writes of the log.
const CHANGES_AT_ONCE: usize = 4;

/// Partitions that one command changes: about 100 KiB, which a slow disk takes between two heartbeats.
const CHANGES_MAX: usize = 512;

/// Entries that a listener may lack and still be taken for a voter.
const LAG_MAX: u64 = 100;

/// How long a member of the group that the state does not know may stay in it.
const UNKNOWN_MAX: Duration = Duration::from_secs(30);

/// Runs the planner while this node leads, until the runtime ends.
pub(crate) async fn lead(shared: Arc<Shared>, planner: Planner) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = Since::default();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.reports.news.gathered() => {}
        }
        if let Some(led) = since.look(&shared) {
            look(&shared, planner.clone(), led).await;
        }
    }
}

/// Since when this node leads, and in which term.
#[derive(Default)]
struct Since(Option<(u64, u64)>);

impl Since {
    /// How long this node has led, if it does, with a majority behind it and all of the state applied.
    fn look(&mut self, shared: &Shared) -> Option<Duration> {
        let metrics = shared.metrics()?;
        if metrics.current_leader != Some(shared.me.id) {
            self.0 = None;
            return None;
        }
        let term = metrics.current_term;
        if self.0.is_none_or(|(led, _)| led != term) {
            shared.reports.clear();
            shared.granted.lock().clear();
            self.0 = Some((term, clock::boot_us()));
        }
        let (_, since_us) = self.0?;
        shared.quorum_age_ms()?;
        let applied = metrics.last_applied?;
        let led_us = clock::boot_us().saturating_sub(since_us);
        (applied.committed_leader_id().term == term).then_some(Duration::from_micros(led_us))
    }
}

async fn look(shared: &Shared, planner: Planner, led: Duration) {
    let state = shared.published.newest();
    if state.cluster.is_none() {
        if let Some(cluster) = shared.bond.cluster() {
            change(shared, Command::Found(cluster)).await;
        }
        return;
    }
    let mut gathered = shared.reports.gather(shared.suspect_after);
    if led < shared.suspect_after {
        let alive = state.nodes.iter().filter(|(_, member)| member.alive);
        gathered.heard.extend(alive.map(|(id, _)| *id));
    }
    let alive = state.nodes.iter().filter(|(_, member)| member.alive);
    let alive = alive.map(|(id, _)| *id).collect();
    let heard = who_hear_each_other(shared.me.id, &gathered.heard, &gathered.unheard, &alive);
    for node in gathered
        .heard
        .difference(&heard)
        .filter(|it| alive.contains(it))
    {
        tracing::warn!(%node, "a node that another one does not hear is given up until they hear each other");
    }
    // From now on who is given up is granted no lease; those that were granted are waited out.
    let leased = {
        let mut granted = shared.granted.lock();
        let members = state.nodes.keys().copied();
        let given_up = members.filter(|it| !heard.contains(it)).collect();
        granted.give_up(given_up, is_behind(shared));
        granted.holders(clock::boot_us(), shared.suspect_us())
    };
    let mut heard = plan::Heard {
        nodes: heard,
        leased,
    };
    if led < shared.suspect_after {
        // Another leader may have granted one until this one was elected.
        heard.leased.extend(state.nodes.keys());
    }
    // A plan for many partitions takes long, and heartbeats are sent from this thread.
    let planned = tokio::task::spawn_blocking(move || planner(&state, &heard, &gathered.synced));
    let Ok(commands) = planned.await else {
        tracing::error!("the planner failed: nothing is changed");
        return;
    };
    let commands = commands.into_iter().flat_map(split).take(PLAN_MAX);
    let changes = stream::iter(commands).map(|command| change(shared, command));
    let mut changes = pin!(changes.buffered(CHANGES_AT_ONCE));
    while let Some(changed) = changes.next().await {
        if !changed {
            return; // looked at anew
        }
    }
}

/// Whether something that was proposed has not come into force yet: it may be that somebody is given up, who was heard
/// again in between.
fn is_behind(shared: &Shared) -> bool {
    shared.metrics().is_none_or(|metrics| {
        let applied = metrics.last_applied.map(|log_id| log_id.index);
        applied != metrics.last_log_index
    })
}

/// A command in parts that are small enough to travel.
fn split(command: Command) -> Vec<Command> {
    match command {
        Command::Repartition(changes) if changes.len() > CHANGES_MAX => {
            let parts = changes.chunks(CHANGES_MAX);
            parts
                .map(|part| Command::Repartition(part.to_vec()))
                .collect()
        }
        Command::Activate(activations) if activations.len() > CHANGES_MAX => {
            let parts = activations.chunks(CHANGES_MAX);
            parts.map(|part| Command::Activate(part.to_vec())).collect()
        }
        other => vec![other],
    }
}

/// Whether the group applied it.
async fn change(shared: &Shared, command: Command) -> bool {
    let what = command.to_string();
    let given_up = match &command {
        Command::SetAlive { node, alive: false } => Some(*node),
        _ => None,
    };
    match timeout(CHANGE_MAX, shared.write(command)).await {
        Ok(Ok(Outcome::Applied)) => {
            tracing::debug!(what, "the cluster's state was changed");
            if let Some(node) = given_up {
                tracing::warn!(%node, "a node is given up: it is not heard any more");
            }
            true
        }
        Ok(Ok(Outcome::Refused(why))) => {
            tracing::info!(what, why, "a change of the cluster's state was refused");
            true
        }
        Ok(Err(WriteError::NotLeader)) => false,
        Ok(Err(WriteError::InDoubt(why))) => {
            tracing::warn!(what, why, "a change of the cluster's state is in doubt");
            false
        }
        Err(_) => false,
    }
}

/// What became of a node that wants to be let in.
pub(crate) enum Admitted {
    /// It is a member.
    Done,
    /// It is not yet, or that is in doubt.
    NotNow,
    /// It will not be, as it is configured.
    Refused(String),
}

/// Takes a node into the cluster, or what is new of it. Only at the leader.
pub(crate) async fn admit(shared: &Shared, facts: NodeFacts) -> Admitted {
    let (id, address) = (facts.id, facts.control.clone());
    tracing::info!(node = %id, name = facts.name, address, "a node joins");
    let admitted = timeout(CHANGE_MAX, shared.write(Command::Admit(facts))).await;
    match admitted {
        Ok(Ok(Outcome::Applied)) => {}
        Ok(Ok(Outcome::Refused(why))) => {
            tracing::warn!(node = %id, why, "a node is not let in");
            return Admitted::Refused(why);
        }
        Ok(Err(_)) | Err(_) => return Admitted::NotNow,
    }
    let is_member = |metrics: &RaftMetrics<TypeConfig>| {
        let node = metrics.membership_config.get_node(&id);
        node.is_some_and(|node| node.addr == address)
    };
    if shared.metrics().is_none_or(|metrics| !is_member(&metrics)) {
        let nodes = BTreeMap::from([(id, BasicNode::new(&address))]);
        // SetNodes replaces an address too. Whoever listens at a wrong one refuses: calls name their target.
        alter(shared, ChangeMembers::SetNodes(nodes), true).await;
    }
    Admitted::Done
}

/// Keeps enough voters, while this node leads, until the runtime ends.
pub(crate) async fn tend_voters(shared: Arc<Shared>) {
    let mut ticks = interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unknown_since: BTreeMap<NodeId, u64> = BTreeMap::new();
    loop {
        ticks.tick().await;
        let metrics = shared.metrics();
        let leads =
            |metrics: &RaftMetrics<TypeConfig>| metrics.current_leader == Some(shared.me.id);
        let Some(metrics) = metrics.filter(leads) else {
            unknown_since.clear();
            continue;
        };
        if let Some(stranger) = stranger(&shared, &metrics, &mut unknown_since) {
            expel(&shared, &metrics, stranger).await;
        } else if let Some(voters) = voters::next(&members(&shared, &metrics)) {
            tracing::info!(voters = ?voters, "who votes is changed");
            alter(&shared, ChangeMembers::ReplaceAllVoters(voters), true).await;
        } else if let Some(nodes) = moved(&shared, &metrics) {
            alter(&shared, ChangeMembers::SetNodes(nodes), true).await;
        }
    }
}

fn members(shared: &Shared, metrics: &RaftMetrics<TypeConfig>) -> voters::Members {
    let state = shared.published.newest();
    let of = |wanted: fn(&karst_cluster::state::Member) -> bool| -> BTreeSet<NodeId> {
        let nodes = state.nodes.iter().filter(|(_, member)| wanted(member));
        nodes.map(|(id, _)| *id).collect()
    };
    let last = metrics.last_log_index.unwrap_or(0);
    let is_near = |index: u64| index + LAG_MAX >= last;
    let progress = metrics.replication.iter().flatten();
    let ready = progress.filter(|(_, has)| has.as_ref().is_some_and(|has| is_near(has.index)));
    voters::Members {
        voters: metrics.membership_config.voter_ids().collect(),
        ready: ready.map(|(id, _)| *id).collect(),
        alive: of(|member| member.alive),
        leaving: of(|member| member.draining),
    }
}

/// Members of the group whose address the state knows better.
fn moved(
    shared: &Shared,
    metrics: &RaftMetrics<TypeConfig>,
) -> Option<BTreeMap<NodeId, BasicNode>> {
    let state = shared.published.newest();
    let nodes = metrics.membership_config.nodes();
    let moved = nodes.filter_map(|(id, node)| {
        let now = &state.nodes.get(id)?.facts.control;
        (node.addr != *now).then(|| (*id, BasicNode::new(now)))
    });
    Some(moved.collect()).filter(|moved: &BTreeMap<_, _>| !moved.is_empty())
}

/// A member of the group that the state has not known for long: it was removed, or never came.
fn stranger(
    shared: &Shared,
    metrics: &RaftMetrics<TypeConfig>,
    since: &mut BTreeMap<NodeId, u64>,
) -> Option<NodeId> {
    let state = shared.published.newest();
    let nodes = metrics.membership_config.nodes().map(|(id, _)| *id);
    let unknown: BTreeSet<NodeId> = nodes.filter(|id| !state.nodes.contains_key(id)).collect();
    since.retain(|id, _| unknown.contains(id));
    let now_us = clock::boot_us();
    let limit_us = UNKNOWN_MAX.as_micros() as u64;
    let late = unknown.into_iter().find(|id| {
        let since_us = *since.entry(*id).or_insert(now_us);
        now_us.saturating_sub(since_us) >= limit_us
    });
    late.filter(|id| *id != shared.me.id)
}

/// Takes a node out of the group.
async fn expel(shared: &Shared, metrics: &RaftMetrics<TypeConfig>, node: NodeId) {
    tracing::info!(%node, "a node that the cluster does not know leaves the group");
    let mut voters: BTreeSet<NodeId> = metrics.membership_config.voter_ids().collect();
    if voters.remove(&node) {
        alter(shared, ChangeMembers::ReplaceAllVoters(voters), false).await;
    } else {
        let nodes = BTreeSet::from([node]);
        alter(shared, ChangeMembers::RemoveNodes(nodes), false).await;
    }
}

/// Changes the group. What does not come about in time is decided anew.
async fn alter(shared: &Shared, change: ChangeMembers<NodeId, BasicNode>, keep: bool) {
    let Ok(raft) = shared.raft() else {
        return;
    };
    match timeout(CHANGE_MAX, raft.change_membership(change, keep)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the group was not changed"),
        Err(_) => tracing::debug!("the group was not changed in time"),
    }
}
