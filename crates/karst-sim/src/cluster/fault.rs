//! What goes wrong, and when it is made good.

use karst_cluster::state::Command;

use super::World;
use super::node::{Deed, Mode};
use crate::check::serves;

/// Most nodes that a life has.
const NODES_MAX: usize = 6;

/// Something goes wrong, or is made good.
pub enum Event {
    /// The next fault, whichever it is.
    Next,
    /// These ways are no longer cut.
    Mend(Vec<(usize, usize)>),
    /// A process begins.
    Start(usize),
    /// A process goes on.
    GoOn(usize, u64),
}

impl World {
    pub(crate) fn begin_faults(&mut self) {
        self.troubled = true;
        let us = self.rng.below(self.setup.calm_us_max);
        self.agenda.after(us, super::Event::Fault(Event::Next));
    }

    /// Everything is made good.
    pub(crate) fn end_faults(&mut self) {
        self.troubled = false;
        self.tell(|| "faults have ended".into());
        for way in self.net.all_cut() {
            while !self.net.mend(way.0, way.1) {}
            self.open(way.0, way.1);
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].stands_still_at_read = None;
            self.go_on(node);
            if !self.nodes[node].running {
                self.start(node);
            }
        }
    }

    pub(crate) fn fault(&mut self, event: Event) {
        match event {
            Event::Next if self.troubled => {
                self.tally.faults += 1;
                self.next_fault();
                let us = self.rng.between(1, self.setup.calm_us_max);
                self.agenda.after(us, super::Event::Fault(Event::Next));
            }
            Event::Next => {}
            Event::Mend(ways) => {
                if self.troubled {
                    for (from, to) in ways {
                        if self.net.mend(from, to) {
                            self.tell(|| format!("n{from} to n{to} is open again"));
                            self.open(from, to);
                        }
                    }
                }
            }
            Event::Start(node) => {
                if !self.nodes[node].running {
                    self.start(node);
                }
            }
            Event::GoOn(node, life) => {
                if self.nodes[node].life == life && self.nodes[node].running {
                    self.go_on(node);
                }
            }
        }
    }

    fn next_fault(&mut self) {
        let node = self.rng.index(self.nodes.len());
        let other = self.rng.index(self.nodes.len());
        // Where that is a loss like any other, too many might come at once.
        let loses = self.setup.is_strong() && self.setup.volatile;
        match self.rng.weighted(&self.setup.pace.weights()) {
            0 if node != other => {
                let both = self.rng.one_in(2) || !self.setup.one_way;
                let ways = [(node, other), (other, node)];
                let ways = ways[..if both { 2 } else { 1 }].to_vec();
                self.cut(ways, 6_000_000);
            }
            1 => {
                let side: Vec<bool> = self.nodes.iter().map(|_| self.rng.one_in(2)).collect();
                self.cut(ways_between(&side, true), 8_000_000);
            }
            2 => {
                let side: Vec<bool> = (0..self.nodes.len()).map(|it| it == node).collect();
                let both = !self.rng.one_in(4) || !self.setup.one_way;
                self.cut(ways_between(&side, both), 10_000_000);
            }
            3 if node != other => {
                let soon = self.rng.one_in(2);
                self.tell(|| format!("the link of n{node} to n{other} snaps"));
                self.snap(node, other, soon);
            }
            4 if self.nodes[node].running => {
                self.end(node, true);
                self.start_later(node);
            }
            5 => self.lose(node),
            6 if self.nodes[node].acts() => {
                let us = match self.rng.one_in(3) {
                    true => self.rng.between(500_000, 5_000_000),
                    false => self.rng.between(10_000, 1_000_000),
                };
                match self.setup.is_strong() && self.rng.one_in(2) {
                    true => self.stand_still_at_read(),
                    false => self.stand_still_for(node, us),
                }
            }
            7 => {
                let id = self.nodes[node].id;
                let state = self.control.newest();
                let draining = state.nodes.get(&id).is_some_and(|it| !it.draining);
                let others = state.nodes.values().filter(|it| !it.draining).count();
                if !draining || others > 2 {
                    self.propose(Command::SetDraining { node: id, draining });
                }
            }
            8 if self.nodes.len() < NODES_MAX => self.join(),
            9 if self.nodes[node].acts() && !self.nodes[node].leaving && !loses => {
                self.tell(|| format!("n{node} is told to stop"));
                self.later(node, 0, Deed::Leave(0));
            }
            10 => self.elect(),
            11 => {
                self.nodes[node].clock.set(&mut self.rng);
                self.tell(|| format!("the clock of n{node} is set to {}", self.now_ms(node)));
            }
            _ => {}
        }
    }

    /// Some primary is to stand still right after it has read something, for long enough that another one may take over.
    fn stand_still_at_read(&mut self) {
        let key = self.rng.index(self.contended.len());
        let us = self.rng.between(500_000, 3_000_000);
        if let Some(primary) = self.primary(self.contended[key].digest.partition()) {
            self.nodes[primary].stands_still_at_read = Some(us);
        }
    }

    /// A process stands still for a while.
    pub(crate) fn stand_still_for(&mut self, node: usize, us: u64) {
        let life = self.nodes[node].life;
        self.stand_still(node);
        let go_on = super::Event::Fault(Event::GoOn(node, life));
        self.agenda.after(us, go_on);
    }

    /// A process ends with all that it held: only when others hold it, and are not about to lose it too.
    fn lose(&mut self, node: usize) {
        let follows = self.nodes.iter().all(|it| it.mode == Mode::Following);
        if serves::is_whole(self).is_none() && follows && self.nodes[node].acts() {
            self.end(node, false);
            self.start_later(node);
        }
    }

    fn start_later(&mut self, node: usize) {
        // Some are back before anybody misses them.
        let us = match self.rng.one_in(2) {
            true => self.rng.between(1_000, 500_000),
            false => self.rng.between(500_000, 5_000_000),
        };
        self.agenda
            .after(us, super::Event::Fault(Event::Start(node)));
    }

    fn cut(&mut self, ways: Vec<(usize, usize)>, us_max: u64) {
        if ways.is_empty() {
            return;
        }
        let us = match self.rng.one_in(2) {
            true => self.rng.between(10_000, 1_500_000),
            false => self.rng.between(500_000, us_max),
        };
        self.tell(|| format!("cut for {us} us: {ways:?}"));
        for (from, to) in &ways {
            self.net.cut(*from, *to);
            // Some connections live through it, others are given up.
            if self.rng.one_in(3) {
                self.snap(*from, *to, false);
            }
            if self.rng.one_in(3) {
                self.snap(*to, *from, false);
            }
        }
        self.agenda
            .after(us, super::Event::Fault(Event::Mend(ways)));
    }
}

/// All ways from one side to the other, and back if both.
fn ways_between(side: &[bool], both: bool) -> Vec<(usize, usize)> {
    let nodes = 0..side.len();
    let pairs = nodes.flat_map(|from| (0..side.len()).map(move |to| (from, to)));
    let across = pairs.filter(|(from, to)| match both {
        true => side[*from] != side[*to],
        false => side[*from] && !side[*to],
    });
    across.collect()
}
