//! Clients: each has keys of its own, one request under way, and a map that may be out of date. None tries again.
//!
//! Where consistency is strong they [contend](super::contend) for the same keys instead.

use std::collections::BTreeMap;

use karst_data::key::Digest;

use super::node::Deed;
use super::oracle::{Change, History, Told};
use super::setup::Setup;
use super::{Event, World};
use crate::check::Violation;
use crate::rng::Rng;

/// The set of all records.
pub const SET: &[u8] = b"s";

/// How long a client waits.
const PATIENCE_US: u64 = 1_500_000;

/// The same where consistency is strong: long enough for others to take over from who stands still and then answers.
const STRONG_PATIENCE_US: u64 = 4_000_000;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What a record holds.
    Get,
    /// That it holds something else.
    Put,
    /// That it is gone.
    Delete,
    /// What a record holds, whoever holds a lease.
    Linearize,
    /// That it holds something else, if it is of this generation.
    Swap(u16),
    /// That its number is one greater.
    Add,
    /// That its list is one longer.
    Append,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose.
    pub client: usize,
    /// Which of its requests.
    pub number: u64,
    /// The record.
    pub digest: Digest,
    /// What of it.
    pub what: What,
    /// What it is to hold.
    pub value: u64,
}

impl Ask {
    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        !matches!(self.what, What::Get | What::Linearize)
    }

    /// Appends it, as one node hands it on to another.
    pub fn put(&self, out: &mut Vec<u8>) {
        let what = match self.what {
            What::Get => 0,
            What::Put => 1,
            What::Delete => 2,
            What::Linearize => 3,
            What::Swap(_) => 4,
            What::Add => 5,
            What::Append => 6,
        };
        let generation = match self.what {
            What::Swap(generation) => generation,
            _ => 0,
        };
        out.push(what);
        out.extend(self.digest.0);
        let generation = u64::from(generation);
        for number in [self.client as u64, self.number, self.value, generation] {
            out.extend(number.to_le_bytes());
        }
    }

    /// Reads it.
    pub fn read(bytes: &[u8]) -> Option<Ask> {
        let (what, rest) = bytes.split_first()?;
        let (digest, rest) = rest.split_first_chunk::<20>()?;
        let numbers = <[u8; 32]>::try_from(rest).ok()?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        Some(Ask {
            what: match what {
                0 => What::Get,
                1 => What::Put,
                2 => What::Delete,
                3 => What::Linearize,
                4 => What::Swap(u16::try_from(number(3)).ok()?),
                5 => What::Add,
                6 => What::Append,
                _ => return None,
            },
            digest: Digest(*digest),
            client: number(0) as usize,
            number: number(1),
            value: number(2),
        })
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// It was carried out.
    Done,
    /// There is no such record.
    NotFound,
    /// The record is of another generation.
    Mismatch,
    /// It was not carried out, for sure.
    Refused,
    /// It may or may not have been.
    InDoubt,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Held {
    /// How often it was written since it was made.
    pub generation: u16,
    /// Its value, or what its list [comes to](Held::list).
    pub value: u64,
    /// Its number.
    pub count: u64,
}

impl Held {
    /// What a list comes to that is one longer. One of a single value comes to that.
    pub fn list(before: u64, value: u64) -> u64 {
        before
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(value)
    }
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// How it went.
    pub code: Code,
    /// Who carried it out; clients are not told, the oracle is.
    pub by: usize,
    /// When, by the coarse clock.
    pub update_time_ms: u64,
    /// Whether that node went by a map of its own then.
    pub alone: bool,
    /// What was read.
    pub held: Held,
}

impl Reply {
    /// One that tells nothing beside how it went.
    pub fn plain(code: Code) -> Reply {
        Reply {
            code,
            by: 0,
            update_time_ms: 0,
            alone: false,
            held: Held::default(),
        }
    }

    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let code = match self.code {
            Code::Done => 0,
            Code::NotFound => 1,
            Code::Refused => 2,
            Code::InDoubt => 3,
            Code::Mismatch => 4,
        };
        out.extend([code, self.by as u8, u8::from(self.alone)]);
        out.extend(self.update_time_ms.to_le_bytes());
        out.extend(self.held.value.to_le_bytes());
        out.extend(self.held.count.to_le_bytes());
        out.extend(self.held.generation.to_le_bytes());
    }

    /// Reads it.
    pub fn read(bytes: &[u8]) -> Option<Reply> {
        let (&[code, by, alone], rest) = bytes.split_first_chunk::<3>()?;
        let numbers = <[u8; 26]>::try_from(rest).ok()?;
        let (numbers, generation) = numbers.as_chunks::<8>();
        let generation = u16::from_le_bytes(generation.try_into().ok()?);
        Some(Reply {
            code: match code {
                0 => Code::Done,
                1 => Code::NotFound,
                2 => Code::Refused,
                3 => Code::InDoubt,
                4 => Code::Mismatch,
                _ => return None,
            },
            by: by.into(),
            alone: alone != 0,
            update_time_ms: u64::from_le_bytes(numbers[0]),
            held: Held {
                generation,
                value: u64::from_le_bytes(numbers[1]),
                count: u64::from_le_bytes(numbers[2]),
            },
        })
    }
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// It asks something.
    Ask,
    /// A reply comes.
    Reply(u64, Reply),
    /// It has waited long enough for this one.
    GiveUp(u64),
}

/// A key and all that was asked of it.
pub struct Key {
    /// Its record.
    pub digest: Digest,
    /// What its writer did and was told.
    pub history: History,
}

/// A request that is not answered.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    pub(super) ask: Ask,
    pub(super) key: usize,
}

/// See [the module](self).
pub struct Client {
    /// Its keys.
    pub keys: Vec<Key>,
    /// Who it believes to be the primary of each partition.
    map: Vec<Option<usize>>,
    pub(super) waiting: Option<Waiting>,
    count: u64,
    pub(super) probing: Option<usize>,
    /// The generations that it saw last, where consistency is strong.
    pub(super) seen: BTreeMap<usize, u16>,
    /// What it is to ask once more.
    pub(super) again: Option<(usize, What)>,
    /// Its last probe went well.
    pub(super) went_well: bool,
}

impl Client {
    /// A client that knows of nobody.
    pub fn new(number: usize, setup: &Setup) -> Client {
        let key = |at: usize| Key {
            digest: digest((number * 100 + at) as u64, setup.partitions),
            history: History::default(),
        };
        let own = match setup.is_strong() {
            true => 0,
            false => setup.keys,
        };
        Client {
            keys: (0..own).map(key).collect(),
            map: vec![None; setup.partitions],
            waiting: None,
            count: 0,
            probing: None,
            seen: BTreeMap::new(),
            again: None,
            went_well: false,
        }
    }

    /// Whether its last probe was acknowledged.
    pub fn probed(&self) -> bool {
        if self.keys.is_empty() {
            return self.went_well;
        }
        let last = self
            .probing
            .and_then(|key| self.keys[key].history.changes.last());
        last.is_some_and(|it| matches!(it.told, Told::Acknowledged { .. }))
    }

    /// Whether it waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_none()
    }
}

/// The record of a key: in one of the partitions in play, some in the same range.
pub fn digest(key: u64, partitions: usize) -> Digest {
    let mut drawn = Rng::from_seed(0x6469_6765_7374 + key);
    let mut bytes = [0; 20];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&drawn.next().to_le_bytes()[..chunk.len()]);
    }
    bytes[0] = drawn.index(partitions) as u8;
    bytes[1] = 0;
    bytes[2] = drawn.below(4) as u8;
    Digest(bytes)
}

impl World {
    pub(crate) fn begin_requests(&mut self) {
        self.asked = true;
        for client in 0..self.clients.len() {
            let us = self.rng.below(100_000);
            self.agenda.after(us, Event::Client(client, Turn::Ask));
        }
    }

    pub(crate) fn end_requests(&mut self) {
        self.asked = false;
    }

    pub(crate) fn client(&mut self, client: usize, turn: Turn) {
        match turn {
            Turn::Ask if self.asked => self.ask(client),
            Turn::Ask => {}
            Turn::Reply(number, reply) => self.told(client, number, Some(reply)),
            Turn::GiveUp(number) => self.told(client, number, None),
        }
    }

    fn ask(&mut self, client: usize) {
        if self.setup.is_strong() {
            return self.contend(client);
        }
        let it = &mut self.clients[client];
        let key = self.rng.index(it.keys.len());
        let what = match self.rng.below(10) {
            0..=4 => What::Put,
            5..=7 => What::Delete,
            _ => What::Get,
        };
        let digest = it.keys[key].digest;
        let ask = self.begin_ask(client, digest, what);
        self.clients[client].waiting = Some(Waiting { ask, key });
        if ask.writes() {
            self.tally.changes += 1;
            let change = Change {
                value: (what == What::Put).then_some(ask.value),
                sent_us: self.agenda.now_us(),
                told: Told::InDoubt,
            };
            let history = &mut self.clients[client].keys[key].history;
            history.changes.push(change);
        } else {
            self.tally.reads += 1;
        }
    }

    /// Sends a request to where the client believes that it belongs.
    pub(super) fn begin_ask(&mut self, client: usize, digest: Digest, what: What) -> Ask {
        if self.rng.one_in(10) {
            self.look_at_map(client);
        }
        let it = &mut self.clients[client];
        it.count += 1;
        let ask = Ask {
            client,
            number: it.count,
            digest,
            what,
            value: (client as u64) << 32 | it.count,
        };
        let believed = it.map[digest.partition().index()];
        let some = self.rng.index(self.nodes.len());
        let to = match self.rng.one_in(8) {
            true => some,
            false => believed.unwrap_or(some),
        };
        self.tell(|| {
            format!(
                "c{client} asks n{to} for {what:?} {} of {digest}",
                ask.value
            )
        });
        let us = self.net.delay_us(&mut self.rng);
        self.later(to, us, Deed::Asked(ask));
        let give_up = Event::Client(client, Turn::GiveUp(ask.number));
        let patience_us = match self.setup.is_strong() {
            true => STRONG_PATIENCE_US,
            false => PATIENCE_US,
        };
        self.agenda.after(patience_us, give_up);
        ask
    }

    /// Asks some node for the map.
    pub(super) fn look_at_map(&mut self, client: usize) {
        let node = self.rng.index(self.nodes.len());
        if !self.nodes[node].acts() {
            return;
        }
        for id in self.partitions() {
            let primary = self.nodes[node].share(id).primary;
            let primary = primary.map(|primary| self.position(primary));
            self.clients[client].map[id.index()] = primary;
        }
    }

    /// A client writes one of its keys once more.
    pub(crate) fn probe(&mut self, client: usize) {
        if self.setup.is_strong() {
            return self.probe_contended(client);
        }
        let key = self.rng.index(self.clients[client].keys.len());
        let digest = self.clients[client].keys[key].digest;
        let ask = self.begin_ask(client, digest, What::Put);
        self.clients[client].waiting = Some(Waiting { ask, key });
        let change = Change {
            value: Some(ask.value),
            sent_us: self.agenda.now_us(),
            told: Told::InDoubt,
        };
        let history = &mut self.clients[client].keys[key].history;
        history.changes.push(change);
        self.clients[client].probing = Some(key);
    }

    pub(crate) fn reply_to_client(&mut self, client: usize, number: u64, reply: Reply) {
        let us = self.net.delay_us(&mut self.rng);
        let turn = Turn::Reply(number, reply);
        self.agenda.after(us, Event::Client(client, turn));
    }

    fn told(&mut self, client: usize, number: u64, reply: Option<Reply>) {
        if self.setup.is_strong() {
            return self.told_contender(client, number, reply);
        }
        let it = &mut self.clients[client];
        let Some(Waiting { ask, key }) = it.waiting.take_if(|it| it.ask.number == number) else {
            return;
        };
        let told = match reply.map(|reply| (reply.code, reply)) {
            None | Some((Code::InDoubt, _)) => Told::InDoubt,
            Some((Code::Done, reply)) => Told::Acknowledged {
                by: reply.by,
                update_time_ms: reply.update_time_ms,
                alone: reply.alone,
            },
            Some((Code::Refused | Code::Mismatch, _)) => Told::Refused,
            Some((Code::NotFound, _)) => Told::NotFound,
        };
        self.tell(|| format!("c{client} is told of {}: {told:?}", ask.value));
        let code = reply.map_or(Code::InDoubt, |reply| reply.code);
        self.tally.outcomes.count(ask.what, code);
        let history = &mut self.clients[client].keys[key].history;
        if ask.writes() {
            let last = history.changes.last_mut();
            last.expect("it was noted when it was sent").told = told;
            match told {
                Told::Acknowledged { .. } => self.tally.acknowledged += 1,
                Told::InDoubt => self.tally.doubtful += 1,
                Told::Refused | Told::NotFound => {}
            }
        } else if let (Told::Acknowledged { .. }, Some(reply)) = (told, reply) {
            let written = history.changes.iter();
            let mut written = written.filter(|it| it.told != Told::Refused);
            if !written.any(|it| it.value == Some(reply.held.value)) {
                let what = format!(
                    "{} holds {}, which nobody wrote",
                    ask.digest, reply.held.value
                );
                self.broken.get_or_insert(Violation::new("read", what));
            }
        }
        if !matches!(told, Told::Acknowledged { .. }) {
            self.look_at_map(client);
        }
        let us = self.rng.below(self.setup.think_us_max);
        self.agenda.after(us, Event::Client(client, Turn::Ask));
    }
}
