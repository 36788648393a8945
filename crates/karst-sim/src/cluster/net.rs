//! Links between nodes: what is sent arrives in order, after a while, or not at all.
//!
//! A link carries the requests of one node to another and the replies back, as one connection does. While a
//! direction is *cut* what was sent waits, as it does in a kernel that tries again, and arrives when the cut is
//! over. A link that *snaps* loses what is under way both ways; who asked finds out some time later, and
//! connects again. Whatever a message says, it went through the codec of `karst_cluster::fabric` as bytes.

use std::collections::{BTreeMap, VecDeque};

use crate::rng::Rng;

/// What waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiter {
    /// The link itself.
    Hello,
    /// Who wants to know who is there.
    Ping,
    /// A write on its way.
    Copy(u64),
    /// A write that was handed over.
    Late(u64),
    /// A comparison that has asked something.
    Question(u64),
    /// A comparison that has sent a record.
    Push(u64),
    /// A read that asks whether its regime stands.
    Stands(u64),
    /// A client's request that was handed on.
    Proxy(u64),
}

/// One way of a link.
#[derive(Debug, Default)]
pub struct Way {
    /// Messages under way.
    messages: VecDeque<Vec<u8>>,
    /// Of those, how many would be there but for a cut.
    stalled: usize,
    /// When the last of them is there.
    last_us: u64,
}

/// Requests of one node to another, and the replies.
#[derive(Debug, Default)]
pub struct Link {
    /// Counts connections: what belongs to an earlier one is nothing.
    pub epoch: u64,
    /// The other node has said hello back.
    pub connected: bool,
    /// It has snapped, and who asks does not know yet.
    pub dead: bool,
    /// A connection will be tried.
    pub trying: bool,
    /// Who waits for which reply.
    pub waiting: BTreeMap<u64, Waiter>,
    next_number: u64,
    ways: [Way; 2],
}

impl Link {
    /// The number of a new request.
    pub fn number(&mut self, waiter: Waiter) -> u64 {
        self.next_number += 1;
        self.waiting.insert(self.next_number, waiter);
        self.next_number
    }

    /// Puts a message on its way; says when it is there.
    pub fn send(&mut self, forward: bool, bytes: Vec<u8>, now_us: u64, delay_us: u64) -> u64 {
        let way = &mut self.ways[usize::from(forward)];
        way.messages.push_back(bytes);
        way.last_us = way.last_us.max(now_us + delay_us);
        way.last_us
    }

    /// A message is there, unless its way is cut.
    pub fn arrive(&mut self, forward: bool, is_cut: bool) -> Option<Vec<u8>> {
        let way = &mut self.ways[usize::from(forward)];
        if is_cut {
            way.stalled += 1;
            return None;
        }
        way.messages.pop_front()
    }

    /// A way is open again: how many messages are to be carried on.
    pub fn open(&mut self, forward: bool) -> usize {
        std::mem::take(&mut self.ways[usize::from(forward)].stalled)
    }

    /// Everything that was under way is lost.
    pub fn snap(&mut self) {
        self.ways = [Way::default(), Way::default()];
        self.dead = true;
    }

    /// The connection is over for who asked, who learns whom to tell.
    pub fn close(&mut self) -> BTreeMap<u64, Waiter> {
        self.epoch += 1;
        self.ways = [Way::default(), Way::default()];
        (self.connected, self.dead) = (false, false);
        std::mem::take(&mut self.waiting)
    }
}

/// All links, and which ways are cut.
pub struct Net {
    links: BTreeMap<(usize, usize), Link>,
    /// Reasons for which a way is cut now.
    cuts: BTreeMap<(usize, usize), u32>,
    delay_us: u64,
    slow_one_in: u64,
}

impl Net {
    /// One in which messages take about so long.
    pub fn new(delay_us: u64, slow_one_in: u64) -> Net {
        Net {
            links: BTreeMap::new(),
            cuts: BTreeMap::new(),
            delay_us,
            slow_one_in,
        }
    }

    /// The link by which one node asks another.
    pub fn link(&mut self, from: usize, to: usize) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    /// A link that carries nothing, of those between so many nodes.
    pub fn down(&self, nodes: usize) -> Option<(usize, usize)> {
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let up = |link: &Link| link.connected && !link.dead;
        let mut pairs = pairs.filter(|(from, to)| from != to);
        pairs.find(|pair| !self.links.get(pair).is_some_and(up))
    }

    /// How long a message takes.
    pub fn delay_us(&self, rng: &mut Rng) -> u64 {
        match rng.one_in(self.slow_one_in) {
            true => rng.between(self.delay_us, self.delay_us + 60_000),
            false => rng.between(self.delay_us / 2, self.delay_us * 3 / 2),
        }
    }

    /// Whether nothing comes from one node to another.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|count| *count > 0)
    }

    /// Whether two nodes reach each other.
    pub fn reach(&self, one: usize, other: usize) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    /// Cuts a way, for one more reason.
    pub fn cut(&mut self, from: usize, to: usize) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// Takes a reason away. Whether the way is open again.
    pub fn mend(&mut self, from: usize, to: usize) -> bool {
        let count = self.cuts.entry((from, to)).or_default();
        *count = count.saturating_sub(1);
        *count == 0
    }

    /// All ways that are cut.
    pub fn all_cut(&self) -> Vec<(usize, usize)> {
        let cut = self.cuts.iter().filter(|(_, count)| **count > 0);
        cut.map(|(way, _)| *way).collect()
    }

    /// All links of a node: those by which it asks, and those by which it is asked.
    pub fn links_of(&self, node: usize) -> Vec<(usize, usize)> {
        let keys = self.links.keys().copied();
        keys.filter(|(from, to)| *from == node || *to == node)
            .collect()
    }
}
