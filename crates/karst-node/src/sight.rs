//! What this node sees of its cluster, as the data path and the info commands read it.
//!
//! The control threads hand in each new state. It is put into force in this order: first every partition
//! whose regime has risen refuses what is decided under an older one, then the new view is published.
//! Whoever decided on the old view and comes too late is refused and looks again, so that no write slips
//! past somebody who has just been told that he is being filled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use karst_cluster::map::{NamespaceMap, Ownership, Regime, Role};
use karst_cluster::node::{NodeFacts, NodeId};
use karst_cluster::state::{ClusterState, Member, Truncation};
use karst_cluster::view::View;
use karst_data::key::PartitionId;
use karst_engine::Namespace;
use karst_engine::migrate::duty::taken_over;
use tokio::sync::watch;

use crate::node::Node;

/// When clients are reminded of a change of the map. Most nodes have put it into force by then.
const REMIND_AFTER: Duration = Duration::from_millis(400);

/// When they are once more, if nothing has changed since.
const REMIND_AGAIN_AFTER: Duration = Duration::from_millis(1600);

/// One state of the cluster, seen from this node.
pub struct Sight {
    /// Who serves what.
    pub view: View,
    /// Everything that it was made from.
    pub state: Arc<ClusterState>,
}

impl Sight {
    /// What a node tells of itself, if it is known.
    pub fn facts(&self, node: NodeId) -> Option<&NodeFacts> {
        self.state.nodes.get(&node).map(|member| &member.facts)
    }

    /// The other nodes that count as alive.
    pub fn others_alive(&self) -> impl Iterator<Item = &NodeFacts> {
        let me = self.view.me;
        let members = self.state.nodes.values();
        members
            .filter(move |member| member.alive && member.facts.id != me)
            .map(|member| &member.facts)
    }

    /// Whether this is of a cluster that knows of this node.
    pub fn is_known(&self) -> bool {
        self.state.nodes.contains_key(&self.view.me)
    }

    /// Whether there are other nodes at all, heard of or not: then deletes are remembered for them.
    pub fn has_others(&self) -> bool {
        self.state.nodes.len() > 1
    }

    /// Nodes that are about to stop: they serve, and clients are told of the others.
    pub fn stopping(&self) -> BTreeSet<NodeId> {
        let members = self.state.nodes.iter();
        let stopping = members.filter(|(_, member)| member.stopping);
        stopping.map(|(node, _)| *node).collect()
    }

    /// Every node that counts as alive and this one, the greatest id first.
    pub fn succession(&self) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self.others_alive().map(|facts| facts.id).collect();
        ids.push(self.view.me);
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    /// Whether a node counts as alive.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.state.is_alive(node)
    }

    /// Copies of a namespace that are on their way: nodes that are being filled, and those alive that hold
    /// what is still to be merged. A partition counts once whose row does not serve in its order, or is not yet
    /// what it should be: shorter than it could be, or with somebody who is gone. So does a node that is to hold
    /// something and was given nothing yet.
    pub fn remaining(&self, name: &str) -> usize {
        let Some(map) = self.state.maps.get(name) else {
            return 0;
        };
        let alive = |node: &NodeId| self.is_alive(*node);
        let takes = |member: &&Member| {
            let mut namespaces = member.facts.namespaces.iter();
            let stays = member.alive && !member.draining && !member.stopping;
            stays && namespaces.any(|it| it.name == name)
        };
        let takers = || self.state.nodes.values().filter(takes);
        let copies_least = takers().count().min(map.replication_factor.into());
        let placed: BTreeSet<NodeId> = map
            .partitions
            .iter()
            .flat_map(|it| &it.row)
            .copied()
            .collect();
        let unplaced = takers().filter(|it| !placed.contains(&it.facts.id)).count();
        let of = |it: &Ownership| {
            let unplanned = it.row.len() < copies_least || !it.row.iter().all(alive);
            let copies = it.to_reconcile().filter(alive).count();
            copies.max(usize::from(!it.is_settled() || unplanned))
        };
        map.partitions.iter().map(of).sum::<usize>() + unplaced
    }

    /// Whether this is a map of this node's own, made while nothing is heard of the cluster.
    pub fn is_island(&self) -> bool {
        self.state.is_island()
    }
}

/// See [the module](self).
pub struct Sights {
    me: NodeId,
    incarnation: u64,
    names: Vec<String>,
    now: ArcSwap<Sight>,
    changed: watch::Sender<u64>,
    /// Counts the views in which a partition that this node serves, or served, has changed hands.
    generation: AtomicU64,
    /// Counts how often clients were reminded of the map beside that.
    reminders: AtomicU64,
    /// Counts changes of who the others are and where clients reach them.
    peers_generation: AtomicU64,
    placed: AtomicBool,
}

impl Sights {
    /// A node that has heard of nobody. `names` are its namespaces in its own order.
    pub fn new(me: NodeId, incarnation: u64, names: Vec<String>) -> Sights {
        let state = Arc::<ClusterState>::default();
        Sights {
            me,
            incarnation,
            now: ArcSwap::from_pointee(Sight {
                view: View::new(me, &state, &as_strs(&names)),
                state,
            }),
            names,
            changed: watch::Sender::new(0),
            generation: AtomicU64::new(0),
            reminders: AtomicU64::new(0),
            peers_generation: AtomicU64::new(1),
            placed: AtomicBool::new(false),
        }
    }

    /// The newest.
    pub fn now(&self) -> Guard<Arc<Sight>> {
        self.now.load()
    }

    /// Tells of each new one.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The generation that clients are told. It rises with that of the map, and again a little later: of two nodes
    /// that both name themselves, one by an older map, clients believe whom they heard last, and do not ask the
    /// right one again before its generation rises.
    pub fn generation_for_clients(&self) -> u64 {
        self.generation() + self.reminders.load(Ordering::Acquire)
    }

    /// Has clients read the partition map once more.
    fn remind(&self) {
        if self.generation() > 0 {
            self.reminders.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Rises whenever a partition that this node serves, or served, changes hands; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether this node has had a part in a whole map: before that clients are to come back later.
    pub fn is_placed(&self) -> bool {
        self.placed.load(Ordering::Acquire)
    }

    /// Whether this node counts as alive, and every partition of its namespaces is served by somebody.
    fn places(&self, sight: &Sight) -> bool {
        let alive = sight.state.nodes.get(&self.me).is_some_and(|me| me.alive);
        let served = |name: &String| {
            let map = sight.state.maps.get(name);
            map.is_some_and(|map| map.partitions.iter().all(|it| it.primary().is_some()))
        };
        alive && self.names.iter().all(served)
    }

    /// Rises whenever clients should ask for the other nodes again.
    pub fn peers_generation(&self) -> u64 {
        self.peers_generation.load(Ordering::Acquire)
    }

    /// Puts a new state into force, once it knows of this process. Called by one thread at a time, in the order of the states.
    pub fn put_into_force(&self, state: Arc<ClusterState>, namespaces: &[&Namespace]) {
        let known = state.nodes.get(&self.me);
        if known.is_none_or(|member| member.facts.incarnation != self.incarnation) {
            return; // what it says of this node was true of an earlier process, which may have held more
        }
        let view = View::new(self.me, &state, &as_strs(&self.names));
        let sight = Sight { view, state };
        let before = self.now.load();
        let placed = self.places(&sight);
        let mut changed = placed && !self.is_placed();
        changed |= before.stopping() != sight.stopping();
        for (index, namespace) in namespaces.iter().enumerate() {
            for id in PartitionId::all() {
                let (was, is) = (before.view.share(index, id), sight.view.share(index, id));
                if was.regime != is.regime || is.quorums.is_some() {
                    namespace.learn(id, is);
                }
                changed |= was.role != is.role || (was.regime != is.regime && serves(is.role));
            }
        }
        let peers = |sight: &Sight| -> Vec<(NodeId, Vec<String>)> {
            let others = sight.others_alive();
            others.map(|it| (it.id, it.service.clone())).collect()
        };
        let other_peers = peers(&before) != peers(&sight);
        drop(before);
        let outdated: Vec<bool> = (self.names.iter())
            .map(|name| sight.state.may_be_outdated_somewhere(name))
            .collect();
        self.now.store(Arc::new(sight));
        // Behind the sight: whoever lets tombstones go by an older one looks again afterwards.
        for (namespace, _) in namespaces.iter().zip(outdated).filter(|it| it.1) {
            namespace.keep_tombstones(true);
        }
        self.placed.fetch_or(placed, Ordering::AcqRel);
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        if other_peers {
            self.peers_generation.fetch_add(1, Ordering::AcqRel);
        }
        self.changed.send_modify(|count| *count += 1);
    }
}

fn serves(role: Role) -> bool {
    match role {
        Role::Primary | Role::Replica => true,
        Role::Joining | Role::Stranger => false,
    }
}

fn as_strs(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

/// Reminds clients of the map some time after each change of it; never returns.
pub async fn remind_clients(node: Arc<Node>) {
    let mut changes = node.sights.changes();
    let mut is_new = false;
    loop {
        if !is_new && changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(REMIND_AFTER).await;
        node.sights.remind();
        let next = tokio::time::timeout(REMIND_AGAIN_AFTER, changes.changed()).await;
        is_new = next.is_ok();
        if !is_new {
            node.sights.remind();
        }
    }
}

/// Puts a state into force, truncations first.
pub fn put(node: &Node, state: Arc<ClusterState>) {
    let before = node.sights.now().state.clone();
    truncate(node, &before.truncations, &state.truncations);
    set_sindexes(node, &state);
    let engines = node.namespaces.iter().map(|namespace| &namespace.engine);
    node.sights
        .put_into_force(state, &engines.collect::<Vec<_>>());
    compare_where_taken_over(node, &before);
}

/// Has this node compare with those in sync beside it wherever it has become the primary since then.
fn compare_where_taken_over(node: &Node, before: &ClusterState) {
    let sight = node.sights.now();
    for (namespace, state) in node.namespaces.iter().enumerate() {
        let name = &state.config.name;
        let Some(now) = sight.state.maps.get(name) else {
            continue;
        };
        let before = before.maps.get(name);
        if now.strong {
            let activated = activated(node.id, before, now);
            state
                .upkeep
                .activations
                .fetch_add(activated, Ordering::Relaxed);
            continue; // nobody serves there before that is done
        }
        for id in PartitionId::all() {
            let was = before.map(|map| map.partition(id));
            let repairs = taken_over(node.id, namespace, id, was, now.partition(id));
            repairs.for_each(|repair| node.repairs.add(repair));
        }
    }
}

/// How many partitions that a node leads were activated since then.
fn activated(me: NodeId, before: Option<&NamespaceMap>, now: &NamespaceMap) -> u64 {
    let led = PartitionId::all().filter(|id| now.partition(*id).primary() == Some(me));
    let was = |id| before.map_or(Regime(0), |map| map.partition(id).activated);
    led.filter(|id| now.partition(*id).activated > was(*id))
        .count() as u64
}

/// Has every namespace the indexes that the cluster has agreed on.
fn set_sindexes(node: &Node, state: &ClusterState) {
    for namespace in &node.namespaces {
        let wanted = state.sindexes_of(&namespace.config.name);
        let wanted = wanted.map(|it| (it.name.clone(), it.definition.clone()));
        let wanted: Vec<_> = wanted.collect();
        namespace.engine.set_sindexes(&wanted);
    }
}

/// Carries out what the cluster has agreed to truncate, and what it has taken back.
fn truncate(node: &Node, before: &[Truncation], now: &[Truncation]) {
    let same = |a: &Truncation, b: &Truncation| a.namespace == b.namespace && a.set == b.set;
    for mark in now.iter().filter(|mark| !before.contains(mark)) {
        change_mark(node, mark, true);
    }
    for mark in before {
        if !now.iter().any(|it| same(it, mark)) {
            change_mark(node, mark, false);
        }
    }
}

fn change_mark(node: &Node, mark: &Truncation, set: bool) {
    let Some((_, namespace)) = node.namespace(mark.namespace.as_bytes()) else {
        return;
    };
    let of_set = (!mark.set.is_empty()).then_some(mark.set.as_bytes());
    let kept = match set {
        true => node.marks.set(&mark.namespace, &mark.set, mark.before_ms),
        false => node.marks.clear(&mark.namespace, &mark.set),
    };
    if let Err(error) = kept {
        tracing::error!(%error, "a truncation mark cannot be kept on disk: it is in memory alone");
    }
    match set {
        false => namespace.engine.undo_truncate(of_set),
        true => {
            if let Err(reason) = namespace.engine.truncate(of_set, mark.before_ms) {
                tracing::error!(namespace = mark.namespace, set = mark.set, %reason, "a truncation fails");
            }
        }
    }
}
