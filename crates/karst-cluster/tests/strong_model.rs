//! All runs of a strongly consistent partition's life with three nodes and one record, within bounds: two writes,
//! a few changes of who serves, a restart, reads that ask whether their regime still stands.
//!
//! The rules are those of [`karst_cluster::strong`], called here as they are in the node. What is left out: time (a
//! node may be taken for dead at any moment, and learns of it at any later one, so no lease is counted on), devices
//! (what a node has it keeps, also when its process ends), and other records. Raft is one agreed state that nodes learn of late or
//! never. Copies and acknowledgements come late, twice, out of order or never.
//!
//! What must never happen: a read that was begun after a write was acknowledged, or after another read had
//! returned it, misses it.
//!
//! That a record deleted long ago does not return with who joins, and that all copies become the same, is not told by
//! one record that is only written: the simulator looks at that.
//!
//! Each rule that is left out on purpose ([`Broken`]) has to be found out.

use std::collections::BTreeSet;

use karst_cluster::strong::{Fenced, is_confirmed};
use stateright::{Checker, Model, Property};

const NODES: u8 = 3;

/// A set of nodes, or of writes, as bits.
type Set = u8;

fn one(member: u8) -> Set {
    1 << member
}

fn members(set: Set) -> Vec<u8> {
    (0..8).filter(|it| set & one(*it) != 0).collect()
}

/// What Raft keeps of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Config {
    regime: u8,
    /// The last regime that was activated.
    activated: u8,
    primary: u8,
    in_sync: Set,
    /// By whom writes were last confirmed, while this regime is not activated; else nobody.
    prior: Set,
}

impl Config {
    /// Who confirms writes now.
    fn confirmed_by(&self, acks: Set, broken: Option<Broken>) -> bool {
        if broken == Some(Broken::AnyMajority) {
            return acks.count_ones() >= 2;
        }
        let (acks, in_sync, prior) = (members(acks), members(self.in_sync), members(self.prior));
        let joint = !prior.is_empty() && broken != Some(Broken::OneQuorum);
        match joint {
            true => is_confirmed(&acks, &[&in_sync, &prior]),
            false => is_confirmed(&acks, &[&in_sync]),
        }
    }

    /// By whom writes that anybody knows of were confirmed.
    fn last_confirmed(&self, broken: Option<Broken>) -> Set {
        match self.prior {
            0 => self.in_sync,
            _ if broken == Some(Broken::IgnoresPrior) => self.in_sync,
            prior => prior,
        }
    }
}

/// Which write of a partition made a state of the record.
type Version = (u8, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    version: Version,
    /// The writes that led to it.
    holds: Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    /// The newest state of Raft's that it knows; that of regime 0 lets it take part in nothing.
    view: Config,
    entry: Entry,
    /// The activated regime since which it serves; 0 if it does not.
    serves: u8,
    /// What it knows others to have, as the primary: the version up to which each has everything.
    confirmed: [Version; NODES as usize],
    /// Its writes that are not acknowledged yet.
    pending: Vec<(Version, Set)>,
    /// Who has promised to take nothing of an older regime, and told what he has.
    fenced: Set,
    /// Who joins and was found to hold nothing that this one lacks, under this regime.
    imposed: Set,
    /// Who has come to hold everything, under this regime.
    complete: Set,
}

/// What a primary has, on its way to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Copy {
    from: u8,
    to: u8,
    regime: u8,
    entry: Entry,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Read {
    config: Config,
    value: Set,
    /// What was acknowledged, or read, before it began.
    must: Set,
    confirms: Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    raft: Config,
    nodes: [Node; NODES as usize],
    net: BTreeSet<Copy>,
    writes: u8,
    reads: u8,
    restarts: u8,
    read: Option<Read>,
    /// Writes that clients know of.
    known: Set,
    went_back: bool,
    /// A read returned both writes under a third primary's regime.
    got_through: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A node learns what Raft has agreed on.
    Learn(u8),
    /// A client writes.
    Write(u8),
    /// A copy arrives, and the primary hears of it or does not. It may arrive once more.
    Deliver {
        copy: Copy,
        heard: bool,
    },
    /// A primary that takes over hears from a node what it has.
    Fence {
        primary: u8,
        node: u8,
    },
    /// A primary sends what it has to everybody.
    Send(u8),
    /// A primary compares with who joins.
    Impose {
        primary: u8,
        node: u8,
    },
    /// A primary reports, and Raft agrees, that everybody in sync has everything.
    Activate(u8),
    /// The leader takes a node for dead; somebody leads.
    Drop {
        node: u8,
        primary: u8,
    },
    /// The leader takes a node back whose data was never gone, before anything was activated without it.
    Return(u8),
    /// A primary has reported that a node is complete.
    Join(u8),
    /// Another one in sync is to lead.
    Move(u8),
    /// A process ends, and its successor is known to Raft. It stays in sync or not.
    Restart {
        node: u8,
        primary: u8,
        stays: bool,
    },
    BeginRead(u8),
    ConfirmRead(u8),
}

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// A write is acknowledged before anybody else has it.
    AcknowledgesAlone,
    /// Confirmations of nodes that are not in sync count.
    AnyMajority,
    /// Before a regime is activated only the new set confirms.
    OneQuorum,
    /// A new primary asks nobody.
    SkipsFence,
    /// A new primary asks, and keeps its own state.
    KeepsItsOwn,
    /// A change before the last one was activated begins from the set in between.
    IgnoresPrior,
    /// It is not looked whether enough of the prior set are there.
    ActivatesWithoutThem,
    /// A read does not ask whether the regime stands.
    ReadsAlone,
    /// A read returns what is not confirmed yet.
    ReadsUnconfirmed,
    /// Who restarts goes on under the oldest map, and forgets what it promised.
    ForgetsPromises,
}

struct Life {
    changes: u8,
    reads: u8,
    restarts: u8,
    broken: Option<Broken>,
}

impl Life {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }
}

const FIRST: Config = Config {
    regime: 1,
    activated: 1,
    primary: 0,
    in_sync: 0b111,
    prior: 0,
};

impl Model for Life {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        // Three in sync; two, and a third that joins.
        [0b111, 0b011]
            .map(|in_sync| World::new(Config { in_sync, ..FIRST }))
            .into()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for node in 0..NODES {
            let it = &world.nodes[usize::from(node)];
            actions.push(Action::Learn(node));
            if it.view.primary == node && it.view.regime != 0 {
                actions.extend([
                    Action::Write(node),
                    Action::Send(node),
                    Action::Activate(node),
                ]);
                let others = (0..NODES).filter(|other| *other != node);
                for other in others {
                    actions.push(Action::Fence {
                        primary: node,
                        node: other,
                    });
                    actions.push(Action::Impose {
                        primary: node,
                        node: other,
                    });
                }
                actions.push(Action::BeginRead(node));
            }
            actions.push(Action::ConfirmRead(node));
            actions.extend([Action::Return(node), Action::Join(node), Action::Move(node)]);
            for primary in 0..NODES {
                actions.push(Action::Drop { node, primary });
                actions.extend([false, true].map(|stays| Action::Restart {
                    node,
                    primary,
                    stays,
                }));
            }
        }
        for copy in &world.net {
            actions.extend([false, true].map(|heard| Action::Deliver { copy: *copy, heard }));
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        let done = next.act(self, action);
        next.forget();
        (done && next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |_, world: &World| !world.went_back),
            Property::sometimes("both writes outlive changes", |_, world: &World| {
                world.got_through
            }),
        ]
    }

    fn within_boundary(&self, world: &World) -> bool {
        world.raft.regime <= FIRST.regime + self.changes
    }
}

impl World {
    fn new(first: Config) -> World {
        let blank = Entry {
            version: (0, 0),
            holds: 0,
        };
        let node = |id: u8| Node {
            view: first,
            entry: blank,
            serves: if id == first.primary { first.regime } else { 0 },
            confirmed: [(0, 0); NODES as usize],
            pending: Vec::new(),
            fenced: 0,
            imposed: 0,
            complete: 0,
        };
        World {
            raft: first,
            nodes: [node(0), node(1), node(2)],
            net: BTreeSet::new(),
            writes: 0,
            reads: 0,
            restarts: 0,
            read: None,
            known: 0,
            went_back: false,
            got_through: false,
        }
    }

    /// Whether it was possible.
    fn act(&mut self, life: &Life, action: Action) -> bool {
        match action {
            Action::Learn(node) => self.learn(node),
            Action::Write(node) => self.write(life, node),
            Action::Deliver { copy, heard } => self.deliver(life, copy, heard),
            Action::Fence { primary, node } => self.fence(life, primary, node),
            Action::Send(node) => self.send(node),
            Action::Impose { primary, node } => self.impose(primary, node),
            Action::Activate(node) => self.activate(life, node),
            Action::Drop { node, primary } => self.change(life, primary, |raft| {
                let left = raft.in_sync & !one(node);
                (left != raft.in_sync).then_some(left)
            }),
            Action::Return(node) => {
                let primary = self.raft.primary;
                self.change(life, primary, |raft| {
                    let gone = raft.prior & one(node) != 0 && raft.in_sync & one(node) == 0;
                    gone.then_some(raft.in_sync | one(node))
                })
            }
            Action::Join(node) => {
                let primary = self.raft.primary;
                let it = &self.nodes[usize::from(primary)];
                let reported = it.view.regime == self.raft.regime && it.complete & one(node) != 0;
                self.change(life, primary, |raft| {
                    let joins = reported && raft.prior == 0 && raft.in_sync & one(node) == 0;
                    joins.then_some(raft.in_sync | one(node))
                })
            }
            Action::Move(node) => {
                self.raft.primary != node && self.change(life, node, |raft| Some(raft.in_sync))
            }
            Action::Restart {
                node,
                primary,
                stays,
            } => self.restart(life, node, primary, stays),
            Action::BeginRead(node) => self.begin_read(life, node),
            Action::ConfirmRead(node) => self.confirm_read(life, node),
        }
    }

    /// Raft agrees on who is in sync. A primary that is left stays, but for a move.
    fn change(
        &mut self,
        life: &Life,
        primary: u8,
        in_sync: impl Fn(&Config) -> Option<Set>,
    ) -> bool {
        let raft = self.raft;
        let Some(in_sync) = in_sync(&raft) else {
            return false;
        };
        let moves = in_sync == raft.in_sync;
        let next = self.next_config(life, primary, in_sync, moves);
        next.map(|next| self.raft = next).is_some()
    }

    /// What Raft keeps once these are in sync, if anybody may serve then: until more are there nothing is changed.
    fn next_config(&self, life: &Life, primary: u8, in_sync: Set, moves: bool) -> Option<Config> {
        let raft = self.raft;
        let stays = in_sync & one(raft.primary) != 0 && !moves;
        if in_sync & one(primary) == 0 || (stays && primary != raft.primary) {
            return None;
        }
        let prior = raft.last_confirmed(life.broken);
        let fenced = Fenced {
            prior: &members(prior),
            in_sync: &members(in_sync),
        };
        let can = fenced.can_activate() || life.is(Broken::ActivatesWithoutThem);
        can.then_some(Config {
            regime: raft.regime + 1,
            primary,
            in_sync,
            prior,
            ..raft
        })
    }

    fn restart(&mut self, life: &Life, node: u8, primary: u8, stays: bool) -> bool {
        if self.restarts == life.restarts {
            return false;
        }
        let left = self.raft.in_sync & !one(node);
        let in_sync = match stays {
            true => self.raft.in_sync,
            false => left,
        };
        if in_sync == 0 {
            return false;
        }
        let Some(next) = self.next_config(life, primary, in_sync, false) else {
            return false;
        };
        self.restarts += 1;
        let entry = self.nodes[usize::from(node)].entry;
        let forgetful = life.is(Broken::ForgetsPromises);
        if !forgetful {
            self.raft = next;
        }
        self.nodes[usize::from(node)] = Node {
            view: if forgetful {
                FIRST
            } else {
                Config {
                    regime: 0,
                    activated: 0,
                    ..FIRST
                }
            },
            entry,
            serves: 0,
            ..World::new(FIRST).nodes[usize::from(node)].clone()
        };
        true
    }

    fn learn(&mut self, id: u8) -> bool {
        let (raft, node) = (self.raft, &mut self.nodes[usize::from(id)]);
        if node.view == raft {
            return false;
        }
        let same = node.view.regime == raft.regime;
        let leads = raft.primary == id;
        let activated = raft.prior == 0;
        if same && leads && activated {
            node.serves = raft.activated; // it brought that about
        } else if !leads || node.serves != raft.activated {
            node.serves = 0;
            node.pending.clear(); // in doubt from now on
        }
        if !same {
            node.fenced = one(id);
            node.imposed = 0;
            node.complete = 0;
            if node.serves == 0 {
                node.confirmed = [(0, 0); NODES as usize];
            }
        }
        node.view = raft;
        true
    }

    fn write(&mut self, life: &Life, id: u8) -> bool {
        let node = &mut self.nodes[usize::from(id)];
        if node.serves == 0 || self.writes == 2 {
            return false;
        }
        let write = one(self.writes);
        self.writes += 1;
        let version = (node.view.regime, node.entry.version.1 + 1);
        node.entry = Entry {
            version,
            holds: node.entry.holds | write,
        };
        node.confirmed[usize::from(id)] = version;
        node.pending.push((version, write));
        if life.is(Broken::AcknowledgesAlone) {
            self.known |= write;
        }
        self.acknowledge(life, id);
        self.send(id);
        true
    }

    /// Answers the writes that are confirmed by now.
    fn acknowledge(&mut self, life: &Life, id: u8) {
        let node = &mut self.nodes[usize::from(id)];
        let (view, confirmed) = (node.view, node.confirmed);
        let known = &mut self.known;
        node.pending.retain(|(version, write)| {
            let by = holders(&confirmed, *version);
            let done = view.confirmed_by(by, life.broken);
            if done {
                *known |= write;
            }
            !done
        });
    }

    fn send(&mut self, from: u8) -> bool {
        let node = &self.nodes[usize::from(from)];
        let everybody = members(node.view.in_sync | node.view.prior);
        let takes_over = node.serves == 0 && node.fenced & node.view.in_sync != node.view.in_sync;
        if takes_over {
            return false;
        }
        let joining = (0..NODES).filter(|it| node.serves != 0 && node.imposed & one(*it) != 0);
        let (regime, entry) = (node.view.regime, node.entry);
        for to in everybody
            .into_iter()
            .chain(joining)
            .filter(|to| *to != from)
        {
            self.net.insert(Copy {
                from,
                to,
                regime,
                entry,
            });
        }
        true
    }

    fn deliver(&mut self, life: &Life, copy: Copy, heard: bool) -> bool {
        let Copy {
            from,
            to,
            regime,
            entry,
        } = copy;
        let node = &mut self.nodes[usize::from(to)];
        if node.view.regime != regime || node.view.primary == to {
            return false;
        }
        node.entry = node.entry.max(entry);
        let node = &mut self.nodes[usize::from(from)];
        let goes_on = node.view.primary == from && (node.serves != 0 || node.view.regime == regime);
        let known = &mut node.confirmed[usize::from(to)];
        if heard && goes_on && *known < entry.version {
            *known = entry.version;
            if node.imposed & one(to) != 0 && entry.version == node.entry.version {
                node.complete |= one(to);
            }
            self.acknowledge(life, from);
        }
        true
    }

    /// Takes away what makes no difference any more, so that fewer states differ.
    fn forget(&mut self) {
        let nodes = &self.nodes;
        self.net.retain(|copy| {
            let (from, to) = (&nodes[usize::from(copy.from)], &nodes[usize::from(copy.to)]);
            let known = from.confirmed[usize::from(copy.to)] >= copy.entry.version;
            to.view.regime <= copy.regime && !(known && to.entry.version >= copy.entry.version)
        });
    }

    fn fence(&mut self, life: &Life, primary: u8, other: u8) -> bool {
        let other_node = self.nodes[usize::from(other)].clone();
        let node = &mut self.nodes[usize::from(primary)];
        let view = node.view;
        let takes_over = view.prior != 0 && view.primary == primary && node.serves == 0;
        if !takes_over || view.in_sync & one(other) == 0 || node.fenced & one(other) != 0 {
            return false;
        }
        if life.is(Broken::SkipsFence) {
            node.fenced |= one(other);
            return true;
        }
        if other_node.view.regime != view.regime {
            return false;
        }
        node.fenced |= one(other);
        if !life.is(Broken::KeepsItsOwn) {
            node.entry = node.entry.max(other_node.entry);
        }
        true
    }

    fn impose(&mut self, primary: u8, other: u8) -> bool {
        let theirs = self.nodes[usize::from(other)].clone();
        let node = &mut self.nodes[usize::from(primary)];
        let view = node.view;
        let may = node.serves != 0 && view.prior == 0 && theirs.view.regime == view.regime;
        if !may || view.in_sync & one(other) != 0 || node.imposed & one(other) != 0 {
            return false;
        }
        node.imposed |= one(other);
        if theirs.entry == node.entry {
            node.confirmed[usize::from(other)] = node.entry.version;
            node.complete |= one(other);
        } else if theirs.entry.version >= node.entry.version {
            // Written anew, so that it outweighs what the other one still has.
            let sequence = node.entry.version.1.max(theirs.entry.version.1) + 1;
            node.entry.version = (view.regime, sequence);
            node.confirmed[usize::from(primary)] = node.entry.version;
        }
        self.send(primary);
        true
    }

    fn activate(&mut self, life: &Life, id: u8) -> bool {
        let node = &self.nodes[usize::from(id)];
        let view = node.view;
        if view.regime != self.raft.regime || view.prior == 0 || self.raft.prior == 0 {
            return false;
        }
        let (prior, in_sync) = (members(view.prior), members(view.in_sync));
        let can = Fenced {
            prior: &prior,
            in_sync: &in_sync,
        }
        .can_activate();
        let fenced = node.serves != 0 || node.fenced & view.in_sync == view.in_sync;
        let others = in_sync.iter().filter(|it| **it != id);
        let mut others = others.map(|it| node.confirmed[usize::from(*it)]);
        let brought = others.all(|version| version >= node.entry.version);
        if !fenced || !brought || !(can || life.is(Broken::ActivatesWithoutThem)) {
            return false;
        }
        let version = node.entry.version;
        self.nodes[usize::from(id)].confirmed[usize::from(id)] = version;
        self.raft.prior = 0;
        self.raft.activated = self.raft.regime;
        true
    }

    fn begin_read(&mut self, life: &Life, id: u8) -> bool {
        let node = &self.nodes[usize::from(id)];
        if node.serves == 0 || self.read.is_some() || self.reads == life.reads {
            return false;
        }
        let by = holders(&node.confirmed, node.entry.version) | one(id);
        if !node.view.confirmed_by(by, life.broken) && !life.is(Broken::ReadsUnconfirmed) {
            return false;
        }
        self.reads += 1;
        self.read = Some(Read {
            config: node.view,
            value: node.entry.holds,
            must: self.known,
            confirms: one(id),
        });
        self.end_read(life);
        true
    }

    fn confirm_read(&mut self, life: &Life, id: u8) -> bool {
        let Some(read) = &mut self.read else {
            return false;
        };
        if self.nodes[usize::from(id)].view.regime != read.config.regime {
            return false;
        }
        read.confirms |= one(id);
        self.end_read(life);
        true
    }

    fn end_read(&mut self, life: &Life) {
        let stands = |read: &Read| {
            read.config.confirmed_by(read.confirms, None) || life.is(Broken::ReadsAlone)
        };
        if let Some(read) = self.read.take_if(|read| stands(read)) {
            self.went_back |= read.must & !read.value != 0;
            self.known |= read.value;
            self.got_through |= read.value == 0b11 && read.config.activated > FIRST.regime;
        }
    }
}

fn holders(confirmed: &[Version; NODES as usize], version: Version) -> Set {
    let holds = (0..NODES).filter(|it| confirmed[usize::from(*it)] >= version);
    holds.fold(0, |set, it| set | one(it))
}

const SAFE: &str = "no read misses what was known before";

/// `KARST_CHANGES`, `KARST_READS` and `KARST_RESTARTS` set the bounds.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes a minute unless optimized: scripts/test runs it"
)]
fn no_run_within_bounds_loses_what_was_acknowledged_or_read() {
    let bound = |name: &str, usual: u8| {
        let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
        set.unwrap_or(usual)
    };
    let life = Life {
        changes: bound("KARST_CHANGES", 1),
        reads: bound("KARST_READS", 1),
        restarts: bound("KARST_RESTARTS", 1),
        broken: None,
    };
    let checker = life.checker().threads(2).spawn_bfs().join();
    println!(
        "{} states, {} steps deep",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_no_discovery(SAFE);
    checker.assert_any_discovery("both writes outlive changes");
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes minutes unless optimized: scripts/test runs it"
)]
fn every_rule_that_is_left_out_is_missed() {
    let cases = [
        (Broken::AcknowledgesAlone, 1, 1),
        (Broken::AnyMajority, 2, 1),
        (Broken::OneQuorum, 3, 1),
        (Broken::SkipsFence, 1, 1),
        (Broken::KeepsItsOwn, 1, 1),
        (Broken::IgnoresPrior, 2, 1),
        (Broken::ActivatesWithoutThem, 2, 1),
        (Broken::ReadsAlone, 1, 1),
        (Broken::ReadsUnconfirmed, 1, 2),
        (Broken::ForgetsPromises, 2, 1),
    ];
    for (broken, changes, reads) in cases {
        let restarts = u8::from(broken == Broken::ForgetsPromises);
        let life = Life {
            changes,
            reads,
            restarts,
            broken: Some(broken),
        };
        let checker = life.checker().threads(2).spawn_bfs().join();
        let found = checker.discovery(SAFE).map(|path| path.into_actions());
        println!(
            "{broken:?}: {} states, {found:?}",
            checker.unique_state_count()
        );
        assert!(found.is_some(), "{broken:?} makes no difference");
    }
}
