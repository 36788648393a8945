//! The operator: puts new devices in where some have failed, and revives partitions that are dead.
//!
//! He waits until nothing else can help: a partition is revived when it has been dead for a while, and nobody is merely out
//! of sight, whose writes it would go on without. What he brings about is known to be a loss: from then on
//! each record of it is as it ever was, or absent, and what clients are told follows from that ([`Contended::revived`]).

use karst_cluster::state::{ClusterState, Command, Outcome};
use karst_data::key::PartitionId;
use karst_data::mutation::{Mutation, is_planted};

use super::contend::Contended;
use super::control::{NAMESPACE, SUSPECT_US};
use super::devices::Stop;
use super::fault::Kind;
use super::member::ToLeader;
use super::node::{Deed, Node, WATCH_EVERY_US};
use super::{Event, World};
use crate::check::Violation;

/// Time between two looks.
pub const LOOK_EVERY_US: u64 = 500_000;

/// How long a partition is left dead.
const PATIENCE_US: u64 = 3_000_000;

/// How long somebody may still be told something of a partition that is dead: what was granted before has run out by then.
const ENDS_US: u64 = SUSPECT_US * 3 / 2;

/// A partition of which too few are left that know what was confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Dead {
    since_us: u64,
    /// Who led it then, and with which process.
    served_by: Option<(usize, u64)>,
}

impl World {
    /// Looks at the cluster, and does what is to be done.
    pub(crate) fn operate(&mut self) {
        self.agenda.after(LOOK_EVERY_US, Event::Operate);
        if self.setup.devices.is_some() {
            self.replace_one();
            self.revive();
        }
    }

    /// Notes which partitions are dead by the newest state.
    pub(crate) fn look_for_dead(&mut self) {
        let now_us = self.agenda.now_us();
        let map = self.control.newest().maps.get(NAMESPACE);
        let Some(map) = map.filter(|map| map.strong) else {
            return;
        };
        let all = map.partitions.iter();
        let dead: Vec<_> = all.map(|it| it.is_dead().then(|| it.primary())).collect();
        for (at, dead) in dead.into_iter().enumerate() {
            let id = PartitionId(at as u16);
            let Some(primary) = dead else {
                self.dead.remove(&id);
                continue;
            };
            if !self.dead.contains_key(&id) {
                self.injected(Kind::Dead);
                let served_by = primary.map(|primary| self.position(primary));
                let served_by = served_by.map(|node| (node, self.nodes[node].life));
                let since_us = now_us;
                self.dead.insert(
                    id,
                    Dead {
                        since_us,
                        served_by,
                    },
                );
            }
        }
    }

    /// Nothing is told of a partition that has been dead for longer than anything could last that was granted before,
    /// but by a process that has led it without a break since before it was: that one knows everything.
    pub(crate) fn tells_of(&mut self, node: usize, id: PartitionId) {
        let now_us = self.agenda.now_us();
        let it = (node, self.nodes[node].life);
        if let Some(Dead {
            since_us,
            served_by,
        }) = self.dead.get(&id)
            && now_us > since_us + ENDS_US
            && *served_by != Some(it)
        {
            let what = format!("n{node} serves {id}, which is dead since {since_us} us");
            self.broken.get_or_insert(Violation::new("dead", what));
        }
    }

    /// New devices for a node of which some have failed.
    fn replace_one(&mut self) {
        let failed = |node: &Node| {
            let devices = node.devices.as_ref();
            devices.is_some_and(|it| !it.setup.failed_devices.is_empty())
        };
        let Some(node) = self.nodes.iter().position(failed) else {
            return;
        };
        if !self.nodes[node].acts() || (self.troubled && !self.rng.one_in(8)) {
            return;
        }
        let others = self.others_can_go_on(node);
        if others || self.rng.one_in(6) {
            self.tell(|| format!("n{node} is given new devices"));
            self.injected(Kind::Wiped);
            self.end(node, false, Stop::Kill);
            self.replace_devices(node);
            let us = self.rng.between(100_000, 2_000_000);
            let start = super::fault::Event::Start(node);
            self.agenda.after(us, Event::Fault(start));
        }
    }

    /// Blank devices stand where a node's were, and that is noted before it is not to be seen any more.
    pub(crate) fn replace_devices(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if let Some(devices) = &mut it.devices {
            devices.replace();
            it.wiped = !is_planted(Mutation::HidesLosses);
        }
    }

    /// Whether no partition dies of it if a node has lost what it confirmed (`karst_node::trust`).
    fn others_can_go_on(&self, node: usize) -> bool {
        let id = self.nodes[node].id;
        let map = self.nodes[node].latest.maps.get(NAMESPACE);
        map.is_some_and(|map| {
            map.partitions.iter().all(|partition| {
                let mut without = partition.clone();
                without.restarted(id, true);
                !without.is_dead() || partition.is_dead()
            })
        })
    }

    /// Tells the cluster of devices that have failed while a process runs (`karst_node::trust`).
    pub(crate) fn watch_devices(&mut self, node: usize) {
        self.later(node, WATCH_EVERY_US, Deed::Watch);
        let it = &self.nodes[node];
        let Some(devices) = &it.devices else {
            return;
        };
        let (failed, told) = (devices.failed(&it.engine).len(), devices.doing.told_failed);
        let busy = it.failing.is_some() || it.wiped;
        if failed > told && !busy && self.others_can_go_on(node) {
            self.tell(|| format!("n{node} tells that a device has failed"));
            self.injected(Kind::Loss);
            let it = &mut self.nodes[node];
            it.failing = Some(failed);
            it.lease = karst_cluster::lease::Lease::default();
            self.lose_held(node);
        }
    }

    /// The cluster knows of a device that has failed.
    pub(crate) fn knows_of_failed(&mut self, node: usize) {
        let it = &mut self.nodes[node];
        if let (Some(failed), Some(devices)) = (it.failing.take(), &mut it.devices) {
            devices.doing.told_failed = failed;
        }
    }

    fn revive(&mut self) {
        let now_us = self.agenda.now_us();
        let ripe = |dead: &Dead| now_us >= dead.since_us + PATIENCE_US;
        if self.dead.is_empty() || !self.dead.values().all(ripe) {
            return;
        }
        let before = self.control.newest().clone();
        let revived = revived(&before);
        if revived.is_empty() || self.may_serve(&before, &revived) {
            return;
        }
        let namespace = NAMESPACE.to_owned();
        let command = Command::Revive {
            namespace,
            empty: false,
        };
        if self.propose(command) == Some(Outcome::Applied) {
            self.tell(|| format!("revived: {revived:?}"));
            self.tally.revivals += 1;
            revived.into_iter().for_each(|id| self.note_revival(id));
        }
    }

    /// Whether somebody may go on with one of these partitions who does not hear of it that they are revived.
    fn may_serve(&self, state: &ClusterState, ids: &[PartitionId]) -> bool {
        let Some(map) = state.maps.get(NAMESPACE) else {
            return true;
        };
        let unseen = |node: &&Node| node.running && !(node.acts() && state.is_alive(node.id));
        self.nodes.iter().filter(unseen).any(|node| {
            ids.iter().any(|id| {
                let it = map.partition(*id);
                it.in_sync.contains(&node.id) || it.prior.contains(&node.id)
            })
        })
    }

    /// What clients may be told of a partition's records begins anew.
    fn note_revival(&mut self, id: PartitionId) {
        let now_us = self.agenda.now_us();
        let here = |key: &&mut Contended| key.digest.partition() == id;
        for key in self.contended.iter_mut().filter(here) {
            key.revived(now_us);
        }
    }
}

/// The partitions that a revival would change.
fn revived(state: &ClusterState) -> Vec<PartitionId> {
    let map = state.maps.get(NAMESPACE).into_iter();
    let all = map.flat_map(|map| map.partitions.iter().enumerate());
    let changes = all.filter(|(_, it)| it.revived(|node| state.is_alive(node)).is_some());
    changes.map(|(at, _)| PartitionId(at as u16)).collect()
}

/// What a node asks of the leader about what it has lost.
impl Node {
    /// Its question, if it has one.
    pub(crate) fn loss(&self, node: usize) -> Option<ToLeader> {
        (self.wiped || self.failing.is_some()).then_some(ToLeader::Lose {
            node,
            id: self.id,
            incarnation: self.life,
        })
    }
}
