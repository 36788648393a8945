//! Nodes and the control plane: reports, joining, who leads, what the leader proposes, and how others learn of it.

use std::collections::BTreeSet;

use karst_cluster::lease::Lease;
use karst_cluster::node::{NodeFacts, NodeId};
use karst_cluster::plan::Synced;
use karst_cluster::state::{Command, Outcome};

use super::control::{NAMESPACE, SUSPECT_US};
use super::devices::Stop;
use super::fault::Kind;
use super::node::Deed;
use super::{Event, World};

/// Time between two looks at who leads, and what is to be proposed.
const LEAD_EVERY_US: u64 = 50_000;

/// Time between two reports.
const REPORT_EVERY_US: u64 = 100_000;

/// Pause before the leader is told again that what a node held is lost.
const LOSE_AGAIN_US: u64 = 200_000;

/// Within this a new leader is known to whom it reaches.
const HEARTBEAT_US: u64 = 200_000;

/// Longest wait for an answer to a report.
const REPORT_MAX_US: u64 = 300_000;

/// Something that a node asks of the leader.
pub enum ToLeader {
    /// It is there.
    Report {
        /// Which node.
        node: usize,
        /// Its id.
        id: NodeId,
        /// When it asked.
        asked_us: u64,
        /// The same by its own clock.
        asked_boot_us: u64,
        /// Copies that it knows to be complete.
        synced: Vec<Synced>,
    },
    /// It is there, as it tells a leader that is none any more.
    ReportToReplaced {
        /// Which node.
        node: usize,
        /// When it asked.
        asked_us: u64,
        /// The same by its own clock.
        asked_boot_us: u64,
    },
    /// It joins.
    Join(NodeFacts),
    /// It went on alone, and is back.
    Stray {
        /// Which node.
        node: usize,
        /// Its id.
        id: NodeId,
    },
    /// It does not hold what it should.
    Lose {
        /// Which node.
        node: usize,
        /// Its id.
        id: NodeId,
        /// Its process.
        incarnation: u64,
    },
    /// It is about to end.
    Stop(NodeId),
    /// It is gone.
    Gone(NodeId),
}

impl World {
    /// Whether a node's process acts and has a majority of others that do within reach.
    fn could_lead(&self, node: usize) -> bool {
        let others = self.nodes.iter().enumerate();
        let known = self.control.newest();
        let reached = others.filter(|(other, it)| {
            let member = known.nodes.is_empty() || known.nodes.contains_key(&it.id);
            it.acts() && member && (*other == node || self.net.reach(node, *other))
        });
        self.nodes[node].acts() && self.control.is_majority(reached.count())
    }

    pub(crate) fn lead(&mut self) {
        self.agenda.after(LEAD_EVERY_US, Event::Lead);
        let now_us = self.agenda.now_us();
        if let Some(leader) = self.control.leader
            && self.could_lead(leader)
        {
            self.control.quorum_us = now_us;
            self.propose_plan();
            self.spread_entries();
            return;
        }
        // About as long as an election takes.
        let leaderless_us = now_us - self.control.quorum_us;
        if leaderless_us >= 400_000 && self.rng.one_in(4) {
            self.elect();
        }
    }

    /// Lets some node lead that can, rather another one than now.
    pub(crate) fn elect(&mut self) {
        let now = self.control.leader;
        let able = (0..self.nodes.len()).filter(|node| self.could_lead(*node));
        let able: Vec<usize> = able.collect();
        let others = able.iter().filter(|it| Some(**it) != now);
        let others: Vec<usize> = others.copied().collect();
        let of = if others.is_empty() { able } else { others };
        if of.is_empty() {
            return;
        }
        let leader = *self.rng.pick(&of);
        self.tell(|| format!("n{leader} leads"));
        let (now_us, boot_us) = (self.agenda.now_us(), self.boot_us(leader));
        self.control.elect(leader, now_us, boot_us);
        self.later(leader, 0, Deed::Learn(self.control.last()));
    }

    fn propose_plan(&mut self) {
        let Some(leader) = self.control.leader else {
            return;
        };
        let (now_us, boot_us) = (self.agenda.now_us(), self.boot_us(leader));
        for command in self.control.plan(now_us, boot_us) {
            self.propose(command);
        }
    }

    /// Appends an entry, if there is a leader that may, and lets everybody learn of it. What became of it, if it
    /// was appended.
    pub(crate) fn propose(&mut self, command: Command) -> Option<Outcome> {
        let leader = self.control.leader?;
        if !self.could_lead(leader) {
            return None;
        }
        let before = self.control.newest().clone();
        let what = self.told.then(|| format!("{command:?}"));
        let outcome = self.control.append(command);
        let (entry, newest) = (self.control.last(), self.control.newest().clone());
        if let Some(what) = what {
            self.tell(|| format!("entry {entry}: {what}: {outcome:?}"));
        }
        if let Err(violation) = self.agreed.see(&before, &newest) {
            self.broken.get_or_insert(violation);
        }
        self.look_for_dead();
        self.spread_entries();
        Some(outcome)
    }

    /// Lets everybody within the leader's reach learn of the log.
    fn spread_entries(&mut self) {
        let Some(leader) = self.control.leader else {
            return;
        };
        let entry = self.control.last();
        for node in 0..self.nodes.len() {
            let lacks = self.nodes[node].running && self.nodes[node].entry < entry;
            if !lacks {
                continue;
            }
            if node == leader {
                self.later(node, 0, Deed::Learn(entry));
            } else if self.net.reach(leader, node) {
                let us = match self.rng.one_in(30) {
                    true => self.rng.between(10_000, 400_000),
                    false => self.net.delay_us(&mut self.rng) * 2 + self.rng.below(5_000),
                };
                self.later(node, us, Deed::Learn(entry));
            }
        }
    }

    /// A node asks something of the leader. If it gets there is another matter.
    pub(crate) fn ask_leader(&mut self, node: usize, what: ToLeader) {
        let Some(leader) = self.control.leader else {
            return;
        };
        if node == leader || self.net.reach(node, leader) {
            let us = self.net.delay_us(&mut self.rng);
            self.agenda.after(us, Event::ToLeader(what));
        }
    }

    /// A node reports to a leader that was replaced and does not know it, if it does not know it either. Whether it
    /// does: within a heartbeat of the new leader's everybody knows whom that one reaches.
    fn reports_to_replaced(&mut self, node: usize) -> bool {
        let now_us = self.agenda.now_us();
        let (Some(replaced), Some(leader)) = (&self.control.replaced, self.control.leader) else {
            return false;
        };
        let (old, entry) = (replaced.node, replaced.entry);
        let at_once = now_us < replaced.at_us + HEARTBEAT_US;
        let unaware = |it: usize| {
            self.nodes[it].entry <= entry
                && it != leader
                && (at_once || !self.net.reach(it, leader))
        };
        let reaches = node == old || self.net.reach(node, old);
        self.nodes[old].acts() && unaware(old) && unaware(node) && reaches
    }

    /// A replaced leader answers a report, as it did before: for as long as its last majority is not too old.
    pub(crate) fn at_replaced(&mut self, node: usize, asked_us: u64, asked_boot_us: u64) {
        let now_us = self.agenda.now_us();
        let Some(old) = self.control.replaced.as_ref().map(|it| it.node) else {
            return;
        };
        let (id, boot_us) = (self.nodes[node].id, self.boot_us(old));
        let state = self.nodes[old].latest.clone();
        let Some(replaced) = self.control.replaced.as_mut() else {
            return;
        };
        let quorum_age_us = now_us - replaced.quorum_us;
        let known = state.nodes.contains_key(&id);
        let acts = self.nodes[old].acts() && self.nodes[old].entry <= replaced.entry;
        if quorum_age_us >= SUSPECT_US || !acts {
            return;
        }
        let leased = known && replaced.granted.grant(id, boot_us);
        if leased {
            self.injected(Kind::OldLeader);
            self.tell(|| format!("n{old}, which leads no more, grants n{node} a lease"));
        }
        let deed = Deed::Reported {
            asked_us,
            quorum_age_us,
            known,
            leased_from: leased.then_some((asked_boot_us, state.generation)),
        };
        self.reply(old, node, deed);
    }

    pub(crate) fn at_leader(&mut self, what: ToLeader) {
        if let ToLeader::ReportToReplaced {
            node,
            asked_us,
            asked_boot_us,
        } = what
        {
            return self.at_replaced(node, asked_us, asked_boot_us);
        }
        let Some(leader) = self.control.leader else {
            return;
        };
        if !self.nodes[leader].acts() {
            return;
        }
        let now_us = self.agenda.now_us();
        match what {
            ToLeader::Report {
                node,
                id,
                asked_us,
                asked_boot_us,
                synced,
            } => {
                let quorum_age_us = match self.could_lead(leader) {
                    true => 0,
                    false => now_us - self.control.quorum_us,
                };
                if quorum_age_us >= SUSPECT_US {
                    return;
                }
                let known = self.control.newest().nodes.contains_key(&id);
                if known {
                    self.control.note(id, now_us, synced);
                }
                let boot_us = self.boot_us(leader);
                let leased = known && self.control.granted.grant(id, boot_us);
                let generation = self.control.newest().generation;
                let deed = Deed::Reported {
                    asked_us,
                    quorum_age_us,
                    known,
                    leased_from: leased.then_some((asked_boot_us, generation)),
                };
                self.reply(leader, node, deed);
            }
            ToLeader::ReportToReplaced { .. } => {} // went elsewhere
            ToLeader::Join(facts) => _ = self.propose(Command::Admit(facts)),
            ToLeader::Stray { node, id } => {
                if self.propose(Command::Stray(id)) == Some(Outcome::Applied) {
                    self.reply(leader, node, Deed::Strayed);
                }
            }
            ToLeader::Lose {
                node,
                id,
                incarnation,
            } => {
                let lose = Command::Lose {
                    node: id,
                    incarnation,
                    namespace: NAMESPACE.to_owned(),
                };
                if self.propose(lose) == Some(Outcome::Applied) {
                    let entry = self.control.last();
                    self.reply(leader, node, Deed::Lost(entry));
                }
            }
            ToLeader::Stop(id) => _ = self.propose(Command::Stop(id)),
            ToLeader::Gone(node) => {
                let alive = false;
                self.propose(Command::SetAlive { node, alive });
            }
        }
    }

    fn reply(&mut self, leader: usize, node: usize, deed: Deed) {
        if node == leader || self.net.reach(leader, node) {
            let us = self.net.delay_us(&mut self.rng);
            self.later(node, us, deed);
        }
    }

    pub(crate) fn report(&mut self, node: usize) {
        self.later(node, REPORT_EVERY_US, Deed::Report);
        let it = &mut self.nodes[node];
        if !it.reports {
            return;
        }
        let latest = it.latest.clone();
        it.outbox.retain(|synced| is_news(&latest, synced));
        let (id, synced) = (it.id, it.outbox.iter().cloned().collect());
        if latest.nodes.is_empty() && self.control.leader.is_none() {
            return;
        }
        if self.setup.is_strong() && self.reports_to_replaced(node) {
            let report = ToLeader::ReportToReplaced {
                node,
                asked_us: self.agenda.now_us(),
                asked_boot_us: self.boot_us(node),
            };
            let us = self.net.delay_us(&mut self.rng);
            return self.agenda.after(us, Event::ToLeader(report));
        }
        let report = ToLeader::Report {
            node,
            id,
            asked_us: self.agenda.now_us(),
            asked_boot_us: self.boot_us(node),
            synced,
        };
        self.ask_leader(node, report);
    }

    /// Tells the leader that what this node should hold is lost, until it knows.
    pub(crate) fn lose_held(&mut self, node: usize) {
        if let Some(loss) = self.nodes[node].loss(node) {
            self.ask_leader(node, loss);
            self.later(node, LOSE_AGAIN_US, Deed::Lose);
        }
    }

    /// The leader knows: what it says from then on counts.
    pub(crate) fn lost(&mut self, node: usize, entry: usize) {
        self.nodes[node].wiped = false;
        self.knows_of_failed(node);
        self.learn(node, entry);
        self.follow(node);
    }

    pub(crate) fn reported(&mut self, node: usize, asked_us: u64, quorum_age_us: u64, known: bool) {
        if self.agenda.now_us() > asked_us + REPORT_MAX_US {
            return;
        }
        let facts = self.facts(node);
        let it = &mut self.nodes[node];
        it.contact_us = it
            .contact_us
            .max(Some(asked_us.saturating_sub(quorum_age_us)));
        let as_told = it
            .latest
            .nodes
            .get(&it.id)
            .is_some_and(|me| me.facts == facts);
        if !known || !as_told {
            self.ask_leader(node, ToLeader::Join(facts));
        }
    }

    /// A process ends in order, step by step, as `karst_node::leave` has it.
    pub(crate) fn leave(&mut self, node: usize, step: u8) {
        let id = self.nodes[node].id;
        let in_touch = self.nodes[node]
            .contact_us
            .is_some_and(|at_us| at_us + SUSPECT_US > self.agenda.now_us());
        match step {
            0 => {
                self.nodes[node].leaving = true;
                if self.control.leader == Some(node) {
                    self.elect();
                }
                self.ask_leader(node, ToLeader::Stop(id));
                self.later(node, 10_000, Deed::Leave(1));
            }
            // Up to three seconds for others to lead, and for clients to learn.
            1..=30 => {
                let led = self.nodes[node].state.maps.get(NAMESPACE);
                let led = led.into_iter().flat_map(|map| &map.partitions);
                let stays: BTreeSet<NodeId> = {
                    let members = self.nodes[node].state.nodes.iter();
                    let stays = members.filter(|(_, it)| it.alive && !it.stopping);
                    stays.map(|(id, _)| *id).collect()
                };
                let leads = led
                    .filter(|it| it.primary() == Some(id))
                    .any(|it| it.in_sync.iter().any(|other| stays.contains(other)));
                let next = if leads { step + 1 } else { 31 };
                self.later(node, 100_000, Deed::Leave(next));
            }
            31 => {
                self.nodes[node].reports = false;
                self.nodes[node].lease = Lease::default(); // nobody waits for it to end
                if in_touch {
                    self.ask_leader(node, ToLeader::Gone(id));
                }
                let us = self.rng.between(10_000, 200_000);
                self.later(node, us, Deed::Leave(32));
            }
            _ => {
                self.end(node, true, Stop::InOrder);
                let us = self.rng.between(100_000, 3_000_000);
                let again = super::fault::Event::Start(node);
                self.agenda.after(us, Event::Fault(again));
            }
        }
    }
}

/// Whether the state does not show it yet, nor has moved past.
fn is_news(state: &karst_cluster::state::ClusterState, synced: &Synced) -> bool {
    let map = state.maps.get(&synced.namespace);
    let partition = map.and_then(|map| map.partitions.get(usize::from(synced.partition)));
    partition.is_some_and(|partition| synced.is_news(partition))
}
