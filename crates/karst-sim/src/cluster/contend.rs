//! Clients of a strongly consistent namespace: all ask for the same keys, and what each asked and was told is
//! written down, to be [judged](crate::check::linearizable) in the end.
//!
//! A request that was not carried out for sure is as if it had never been. One that is in doubt may take effect at any
//! time after it was sent, or never; then some clients ask the same once more, as another request.

use std::collections::{BTreeMap, BTreeSet};

use karst_data::key::Digest;
use karst_storage::place::Version;

use super::client::{Ask, Code, Held, Reply, Turn, Waiting, What, digest};
use super::setup::Setup;
use super::{Event, World};
use crate::check::linearizable::{Anew, Call, Calls};

/// Requests of clients by what was asked, and how it went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcomes([[u64; 5]; 7]);

impl Outcomes {
    /// What is asked.
    pub const ASKED: [&str; 7] = [
        "read",
        "read, linearize",
        "write",
        "write if generation",
        "delete",
        "add",
        "append",
    ];

    /// How it goes.
    pub const WENT: [&str; 5] = ["done", "not found", "generation", "refused", "in doubt"];

    /// One more.
    pub fn count(&mut self, what: What, code: Code) {
        let asked = match what {
            What::Get => 0,
            What::Linearize => 1,
            What::Put => 2,
            What::Swap(_) => 3,
            What::Delete => 4,
            What::Add => 5,
            What::Append => 6,
        };
        let went = match code {
            Code::Done => 0,
            Code::NotFound => 1,
            Code::Mismatch => 2,
            Code::Refused => 3,
            Code::InDoubt => 4,
        };
        self.0[asked][went] += 1;
    }

    /// By what was asked.
    pub fn rows(&self) -> &[[u64; 5]; 7] {
        &self.0
    }

    /// Adds others.
    pub fn add(&mut self, other: &Outcomes) {
        for (sum, row) in self.0.iter_mut().zip(other.0) {
            sum.iter_mut().zip(row).for_each(|(sum, it)| *sum += it);
        }
    }
}

/// What was asked of a record, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// Who asked.
    pub client: usize,
    /// What.
    pub what: What,
    /// What it was to hold.
    pub value: u64,
    /// What was answered; nothing if it is in doubt.
    pub answer: Option<Answer>,
}

/// What a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was carried out; after a write only the generation counts.
    Done(Held),
    /// There is no record.
    NotFound,
    /// The record is of another generation.
    Mismatch,
}

/// A key that everybody asks for.
pub struct Contended {
    /// Its record.
    pub digest: Digest,
    /// All that was asked of it and may have taken effect.
    pub calls: Calls<Act>,
    /// When a primary made a write, by its value, and under which version.
    pub made: BTreeMap<u64, (u64, Version)>,
    /// All that it ever was, anywhere.
    states: BTreeSet<Option<Held>>,
    /// When its partition was revived, and what it may have been from then on.
    revivals: Vec<(u64, Vec<Option<Held>>)>,
}

impl Contended {
    /// The keys of a world.
    pub fn all(setup: &Setup) -> Vec<Contended> {
        let count = if setup.is_strong() { setup.keys } else { 0 };
        let key = |at: usize| Contended {
            digest: digest(at as u64, setup.partitions),
            calls: Calls::default(),
            made: BTreeMap::new(),
            states: BTreeSet::from([None]),
            revivals: Vec::new(),
        };
        (0..count).map(key).collect()
    }
}

impl Contended {
    /// A primary has made this of it.
    pub fn holds(&mut self, held: Option<Held>) {
        self.states.insert(held);
    }

    /// Its partition is revived: what was confirmed before may be lost. It may come to be any state that it ever was: who is
    /// counted on from then on may have an old one, or lose a newer one before it is served again.
    pub fn revived(&mut self, now_us: u64) {
        let all = self.states.iter().copied().collect();
        self.revivals.push((now_us, all));
    }

    /// What it may be at once, by the number of the revival.
    pub fn revivals(&self) -> Vec<Anew<Option<Held>>> {
        let all = self.revivals.iter();
        all.map(|(at, states)| Anew {
            at: *at,
            states: states.clone(),
        })
        .collect()
    }

    /// All that was asked of it and may have taken effect: what is in doubt not before some primary made it.
    pub fn history(&self) -> Vec<Call<Act>> {
        let all = self.calls.all().into_iter();
        let made = all.filter_map(|mut call| {
            let made = self.made.get(&call.what.value);
            if let Some((_, version)) = made {
                call.hint = u64::from(version.regime) << 40 | version.sequence;
            }
            if call.ended.is_none() {
                call.begun = made?.0;
            }
            Some(call)
        });
        made.collect()
    }
}

/// What becomes of a record by a request that is carried out now; `None` if it cannot have gone so. A request that
/// would change nothing and was not answered is as if it had never been.
pub fn after(state: &Option<Held>, act: &Act) -> Option<Option<Held>> {
    let generation = state.map_or(0, |it| it.generation);
    let next = |value: u64, count: u64| {
        Some(Held {
            generation: generation.checked_add(1).unwrap_or(1),
            value,
            count,
        })
    };
    let held = state.unwrap_or_default();
    let changed = match act.what {
        What::Get | What::Linearize => return reads(state, act).then_some(*state),
        What::Delete => match (state, act.answer) {
            (None, Some(Answer::NotFound)) => return Some(None),
            (Some(_), None | Some(Answer::Done(_))) => return Some(None),
            (None | Some(_), _) => return None,
        },
        What::Swap(expected) if expected != generation => {
            return (act.answer == Some(Answer::Mismatch)).then_some(*state);
        }
        What::Swap(_) => next(act.value, 0),
        What::Put if replaces(act.value) => next(act.value, 0),
        What::Put => next(act.value, held.count),
        What::Add => next(held.value, held.count + 1),
        What::Append => next(Held::list(held.value, act.value), held.count),
    };
    let told = changed.map_or(0, |it| it.generation);
    match act.answer {
        None => Some(changed),
        Some(Answer::Done(it)) => (it.generation == told).then_some(changed),
        Some(Answer::NotFound | Answer::Mismatch) => None,
    }
}

fn reads(state: &Option<Held>, act: &Act) -> bool {
    match act.answer {
        Some(Answer::Done(held)) => *state == Some(held),
        Some(Answer::NotFound) => state.is_none(),
        Some(Answer::Mismatch) | None => false,
    }
}

/// Whether a put of this value leaves nothing else of the record.
pub fn replaces(value: u64) -> bool {
    !value.is_multiple_of(3)
}

impl World {
    /// A client asks something of some key.
    pub(super) fn contend(&mut self, client: usize) {
        let (key, what) = match self.clients[client].again.take() {
            Some(again) => again,
            None => {
                let key = self.rng.index(self.contended.len());
                (key, self.draw_what(client, key))
            }
        };
        self.begin_call(client, key, what);
    }

    fn draw_what(&mut self, client: usize, key: usize) -> What {
        let seen = self.clients[client].seen.get(&key).copied();
        match self.rng.below(20) {
            0..=5 => What::Get,
            6..=7 => What::Linearize,
            8..=10 => What::Put,
            11..=12 => What::Delete,
            13..=15 => What::Swap(seen.unwrap_or(0)),
            16..=17 => What::Add,
            _ => What::Append,
        }
    }

    fn begin_call(&mut self, client: usize, key: usize, what: What) {
        let digest = self.contended[key].digest;
        let ask = self.begin_ask(client, digest, what);
        self.clients[client].waiting = Some(Waiting { ask, key });
        match ask.writes() {
            true => self.tally.changes += 1,
            false => self.tally.reads += 1,
        }
        let act = Act {
            client,
            what,
            value: ask.value,
            answer: None,
        };
        let begun_us = self.agenda.now_us();
        self.contended[key].calls.begin(client, begun_us, act);
    }

    /// A primary has made a write.
    pub(super) fn has_made(&mut self, node: usize, ask: &Ask, version: Version) {
        let now_us = self.agenda.now_us();
        let mut keys = self.contended.iter();
        let Some(key) = keys.position(|key| key.digest == ask.digest) else {
            return;
        };
        self.contended[key]
            .made
            .entry(ask.value)
            .or_insert((now_us, version));
        if self.setup.devices.is_some() {
            let held = self.held_at(node, &ask.digest);
            self.contended[key].holds(held);
        }
    }

    pub(super) fn told_contender(&mut self, client: usize, number: u64, reply: Option<Reply>) {
        let waiting = &mut self.clients[client].waiting;
        let Some(Waiting { ask, key }) = waiting.take_if(|it| it.ask.number == number) else {
            return;
        };
        let code = reply.map_or(Code::InDoubt, |reply| reply.code);
        self.tell(|| format!("c{client} is told of {}: {code:?} {:?}", ask.value, reply));
        let answer = match (code, reply) {
            (Code::Done, Some(reply)) => Some(Answer::Done(reply.held)),
            (Code::NotFound, Some(_)) => Some(Answer::NotFound),
            (Code::Mismatch, Some(_)) => Some(Answer::Mismatch),
            (_, _) => None,
        };
        let now_us = self.agenda.now_us();
        let calls = &mut self.contended[key].calls;
        match answer {
            Some(answer) => calls.end(client, now_us, |act| act.answer = Some(answer)),
            None if code == Code::InDoubt && ask.writes() => calls.doubt(client),
            None => calls.forget(client),
        }
        self.tally.outcomes.count(ask.what, code);
        self.count(ask.writes(), code);
        let it = &mut self.clients[client];
        it.went_well = matches!(answer, Some(Answer::Done(_)));
        match (code, reply) {
            (Code::Done, Some(reply)) => _ = it.seen.insert(key, reply.held.generation),
            (Code::NotFound, _) => _ = it.seen.insert(key, 0),
            (_, _) => _ = it.seen.remove(&key),
        }
        if code == Code::InDoubt && client.is_multiple_of(2) {
            it.again = Some((key, ask.what));
        }
        if answer.is_none() {
            self.look_at_map(client);
        }
        let us = self.rng.below(self.setup.think_us_max);
        self.agenda.after(us, Event::Client(client, Turn::Ask));
    }

    fn count(&mut self, writes: bool, code: Code) {
        match code {
            Code::Done if writes => self.tally.acknowledged += 1,
            Code::InDoubt if writes => self.tally.doubtful += 1,
            Code::Refused => self.tally.refused += 1,
            Code::Done | Code::InDoubt | Code::NotFound | Code::Mismatch => {}
        }
    }

    pub(super) fn probe_contended(&mut self, client: usize) {
        let key = self.rng.index(self.contended.len());
        self.clients[client].went_well = false;
        self.begin_call(client, key, What::Append);
    }

    /// What a key holds when everything has come to rest, as a read that comes behind everything else.
    pub(crate) fn last_read(&self, key: &Contended) -> Call<Act> {
        let primary = self.primary(key.digest.partition());
        let held = primary.and_then(|primary| self.held_at(primary, &key.digest));
        let act = Act {
            client: usize::MAX,
            what: What::Get,
            value: 0,
            answer: Some(held.map_or(Answer::NotFound, Answer::Done)),
        };
        Call {
            begun: self.agenda.now_us() + 1,
            ended: Some(self.agenda.now_us() + 2),
            hint: 0,
            what: act,
        }
    }
}
