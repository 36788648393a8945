//! What clients were promised: a plain map of records, and for each the changes that led to its state.
//!
//! A change is known from the moment it takes effect in memory. What a stop leaves of it depends on how
//! far it came: one whose write is durable survives, or a later one does; one that is still on its way
//! may be there or not, but wholly; one that an earlier stop took away never returns.
//!
//! Shares no code with the engine beyond the types of requests and the rule for times to live.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use karst_data::policy::Exists;
use karst_data::time::{Now, Ttl, is_expired};
use karst_engine::Reason;
use karst_storage::log::CommitPoint;
use karst_storage::place::Version;

use crate::check::Violation;
use crate::workload::{Ask, Bin, Deed, NUMBER, SETS};

/// Bytes that headers, names, key and set may add to a record's values.
const OVERHEAD_BYTES_MAX: usize = 300;

/// A record as a reader sees it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The set it is in, as an index into [`crate::workload::SETS`].
    pub set: usize,
    /// Its bins.
    pub bins: BTreeMap<Bin, Vec<u8>>,
    /// Its generation.
    pub generation: u16,
    /// When it expires, in seconds since 2010, 0 for never.
    pub void_time_s: u32,
    /// When it was last updated, in ms since 2010.
    pub update_time_ms: u64,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe(Some(self)))
    }
}

/// How sure it is that a change survives a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not durable yet.
    Pending,
    /// On the device.
    Durable,
    /// Its write failed: it may or may not be on the device.
    Lost,
    /// A stop took it away.
    Gone,
}

/// One change of a record.
#[derive(Clone, Debug)]
pub struct Change {
    /// The record after it; `None` when it was deleted.
    pub state: Option<Arc<State>>,
    /// Its version; the default one for what was there before the first.
    pub version: Version,
    /// When it is durable, while the process that made it lives.
    pub commit: Option<CommitPoint>,
    /// How sure it is.
    pub standing: Standing,
}

/// Truncation marks, which a node keeps in a file of its own, in force before they are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The namespace's.
    pub namespace_ms: u64,
    /// Those of [`crate::workload::SETS`].
    pub sets_ms: [u64; 3],
}

impl Marks {
    /// What covers the records of a set.
    pub fn of_set(&self, set: usize) -> u64 {
        self.namespace_ms.max(self.sets_ms[set])
    }
}

/// What is true at a moment for every reader.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The time.
    pub now: Now,
    /// The marks.
    pub marks: Marks,
}

/// What a request has to do to a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// Be refused.
    Refused(Reason),
    /// Delete it.
    Deleted,
    /// Leave it like this; the update time is the engine's to choose.
    Stored(State),
}

/// What a reader may have seen of a record between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    begun: Moment,
    first: usize,
}

struct History {
    changes: Vec<Change>,
}

/// See [the module](self).
pub struct Oracle {
    histories: Vec<History>,
}

impl History {
    fn visible<'a>(&self, change: &'a Change, at: &Moment) -> Option<&'a Arc<State>> {
        change.state.as_ref().filter(|state| {
            !is_expired(state.void_time_s, at.now)
                && state.update_time_ms >= at.marks.of_set(state.set)
        })
    }

    fn last(&self) -> &Change {
        self.changes.last().expect("a history begins with nothing")
    }
}

impl Oracle {
    /// One that has promised nothing.
    pub fn new(keys: usize) -> Oracle {
        let nothing = Change {
            state: None,
            version: Version::default(),
            commit: None,
            standing: Standing::Durable,
        };
        let history = |_| History {
            changes: vec![nothing.clone()],
        };
        Oracle {
            histories: (0..keys).map(history).collect(),
        }
    }

    /// The record as a reader sees it now.
    pub fn current(&self, key: usize, at: &Moment) -> Option<&Arc<State>> {
        let history = &self.histories[key];
        history.visible(history.last(), at)
    }

    /// The change that made the record what it is.
    pub fn last(&self, key: usize) -> &Change {
        self.histories[key].last()
    }

    /// Whether a record was ever like this, as far as some writer knows.
    pub fn was_ever(&self, key: usize, state: &State) -> bool {
        let mut changes = self.histories[key].changes.iter();
        changes.any(|change| change.state.as_deref() == Some(state))
    }

    /// Numbers of the records that a reader can see now.
    pub fn visible_keys(&self, at: &Moment) -> Vec<usize> {
        let keys = 0..self.histories.len();
        keys.filter(|key| self.current(*key, at).is_some())
            .collect()
    }

    /// Bytes of values of everything that can be seen.
    pub fn value_bytes(&self, at: &Moment) -> u64 {
        let seen = (0..self.histories.len()).filter_map(|key| self.current(key, at));
        seen.flat_map(|state| state.bins.values())
            .map(|value| value.len() as u64)
            .sum()
    }

    /// What a write or delete, whose client believes the record to be in a set, has to do to the record as
    /// it is now.
    pub fn expect(
        &self,
        key: usize,
        set: usize,
        ask: &Ask,
        default_ttl_s: u32,
        at: &Moment,
    ) -> Expected {
        let before = self.current(key, at);
        match ask {
            Ask::Read => unreachable!("a read changes nothing"),
            Ask::Delete => match before {
                None => Expected::Refused(Reason::NotFound),
                Some(state) if is_elsewhere(state, set) => Expected::Refused(Reason::SetMismatch),
                Some(_) => Expected::Deleted,
            },
            Ask::Write {
                exists,
                generation,
                ttl,
                deeds,
            } => {
                if let Some(reason) = refusal(before, set, *exists, *generation, deeds) {
                    return Expected::Refused(reason);
                }
                let old = before.filter(|_| !exists.replaces());
                let mut bins = old.map(|state| state.bins.clone()).unwrap_or_default();
                deeds.iter().for_each(|deed| carry_out(deed, &mut bins));
                match (bins.is_empty(), before) {
                    (true, None) => Expected::Refused(Reason::NotFound),
                    (true, Some(_)) => Expected::Deleted,
                    (false, _) => Expected::Stored(State {
                        set,
                        bins,
                        generation: next_generation(before),
                        void_time_s: void_time(*ttl, before, default_ttl_s, at.now),
                        update_time_ms: 0,
                    }),
                }
            }
        }
    }

    /// Notes what a request did.
    pub fn changed(&mut self, key: usize, change: Change) {
        self.histories[key].changes.push(change);
    }

    /// Notes that the node has let go of a record: for good, wherever it ends.
    pub fn let_go(&mut self, key: usize) {
        let gone = Change {
            state: None,
            version: Version::default(),
            commit: None,
            standing: Standing::Durable,
        };
        self.changed(key, gone);
    }

    /// Asks of every change that is on its way what became of it.
    pub fn settle(&mut self, become_of: impl Fn(CommitPoint) -> Standing) {
        for change in self
            .histories
            .iter_mut()
            .flat_map(|history| &mut history.changes)
        {
            if let (Standing::Pending, Some(commit)) = (change.standing, change.commit) {
                change.standing = become_of(commit);
            }
        }
    }

    /// How many changes are on their way, and how many were lost.
    pub fn unsettled(&self) -> (usize, usize) {
        let count = |standing| {
            let changes = self.histories.iter().flat_map(|history| &history.changes);
            changes.filter(|change| change.standing == standing).count()
        };
        (count(Standing::Pending), count(Standing::Lost))
    }

    /// Opens a reader's window.
    pub fn window(&self, key: usize, begun: Moment) -> Window {
        Window {
            begun,
            first: self.histories[key].changes.len() - 1,
        }
    }

    /// Checks what a reader found: the record as it was at some moment of the read.
    ///
    /// # Errors
    /// When it never was like that meanwhile.
    pub fn check_read(
        &self,
        key: usize,
        window: &Window,
        ended: &Moment,
        found: Option<&State>,
    ) -> Result<(), Violation> {
        let history = &self.histories[key];
        let fits = |change: &Change, at| history.visible(change, at).map(Arc::as_ref) == found;
        let mut possible = history.changes[window.first..].iter();
        if possible.any(|change| fits(change, &window.begun) || fits(change, ended)) {
            return Ok(());
        }
        let what = format!(
            "key {key} was read as {}, which is none of the {} states it had meanwhile, the last {}",
            describe(found),
            history.changes.len() - window.first,
            describe(history.visible(history.last(), ended).map(Arc::as_ref)),
        );
        Err(Violation::new("linear", what))
    }

    /// Takes what a restarted node says of a record as the truth, if it may be: the state after some
    /// change that no earlier stop took away, not older than the last durable one. That change is then
    /// durable, since it was read from a device, and the later ones are gone.
    ///
    /// # Errors
    /// When it may not be.
    pub fn survived(
        &mut self,
        key: usize,
        found: Option<&State>,
        version: Option<Version>,
        at: &Moment,
    ) -> Result<(), Violation> {
        let history = &self.histories[key];
        let is_durable = |change: &Change| change.standing == Standing::Durable;
        let first = history.changes.iter().rposition(is_durable);
        let first = first.expect("what was there before the first change is durable");
        let fits = |change: &Change| {
            change.standing != Standing::Gone
                && history.visible(change, at).map(Arc::as_ref) == found
                && (found.is_none() || version == Some(change.version))
        };
        let Some(back) = history.changes[first..].iter().rev().position(fits) else {
            return Err(self.verdict(key, first, found, at));
        };
        let survivor = history.changes.len() - 1 - back;
        let changes = &mut self.histories[key].changes;
        for (number, change) in changes.iter_mut().enumerate() {
            change.commit = None; // of a process that is no more
            if number > survivor || change.standing != Standing::Durable {
                change.standing = Standing::Gone;
            }
        }
        // The survivor is what the record is from now on. What nothing remembers has no version.
        let survivor = Change {
            state: changes[survivor].state.clone(),
            version: version.unwrap_or_default(),
            commit: None,
            standing: Standing::Durable,
        };
        changes.push(survivor);
        Ok(())
    }

    /// Names what is wrong with a state that may not be.
    fn verdict(&self, key: usize, first: usize, found: Option<&State>, at: &Moment) -> Violation {
        let history = &self.histories[key];
        let promised = &history.changes[first];
        let same = |change: &&Change| change.state.as_deref() == found && found.is_some();
        let known = history.changes.iter().rev().find(same);
        let what = format!(
            "key {key} came back as {}; the last durable change left {} (version {}), {} came after it; {}",
            describe(found),
            describe(promised.state.as_deref()),
            promised.version,
            history.changes.len() - 1 - first,
            match known {
                Some(change) => format!(
                    "it was so at version {}: {:?}",
                    change.version, change.standing
                ),
                None => format!("it never was like that; {at:?}"),
            }
        );
        let is_hidden = history.visible(promised, at).is_none();
        match (known, found) {
            (None, Some(_)) => Violation::new("never written", what),
            (Some(_), _) if is_hidden => Violation::new("no_resurrection", what),
            (Some(change), _) if change.standing == Standing::Gone => {
                Violation::new("no_resurrection", what)
            }
            (Some(_) | None, _) => Violation::new("durable", what),
        }
    }
}

/// Why a write must be refused, if it must.
fn refusal(
    before: Option<&Arc<State>>,
    set: usize,
    exists: Exists,
    generation: Option<u32>,
    deeds: &[Deed],
) -> Option<Reason> {
    let accepts = |found: u16| generation.is_none_or(|generation| generation == u32::from(found));
    match before {
        None if matches!(exists, Exists::UpdateOnly | Exists::ReplaceOnly) => {
            Some(Reason::NotFound)
        }
        None if deeds.contains(&Deed::Touch) => Some(Reason::NotFound),
        None => (!accepts(0)).then_some(Reason::Generation),
        Some(_) if exists == Exists::CreateOnly => Some(Reason::Exists),
        Some(state) if !accepts(state.generation) => Some(Reason::Generation),
        Some(state) => (state.set != set).then_some(Reason::SetMismatch),
    }
}

/// Whether a request that names this set, or none, means another record.
fn is_elsewhere(state: &State, set: usize) -> bool {
    !SETS[set].is_empty() && state.set != set
}

fn carry_out(deed: &Deed, bins: &mut BTreeMap<Bin, Vec<u8>>) {
    match deed {
        Deed::Put(bin, bytes) => {
            bins.insert(*bin, bytes.clone());
        }
        Deed::Remove(bin) => {
            bins.remove(bin);
        }
        Deed::Add(delta) => {
            let old = bins
                .get(&NUMBER)
                .and_then(|bytes| bytes.as_slice().try_into().ok());
            let sum = old.map_or(0, i64::from_be_bytes).wrapping_add(*delta);
            bins.insert(NUMBER, sum.to_be_bytes().to_vec());
        }
        Deed::Append(bin, bytes) => bins.entry(*bin).or_default().extend(bytes),
        Deed::Prepend(bin, bytes) => {
            let value = bins.entry(*bin).or_default();
            *value = [bytes.as_slice(), value].concat();
        }
        Deed::Touch => {}
        Deed::RemoveAll => bins.clear(),
    }
}

fn next_generation(before: Option<&Arc<State>>) -> u16 {
    match before.map_or(0, |state| state.generation) {
        u16::MAX => 1,
        generation => generation + 1,
    }
}

fn void_time(ttl: Ttl, before: Option<&Arc<State>>, default_ttl_s: u32, now: Now) -> u32 {
    ttl.void_time(before.map(|state| state.void_time_s), default_ttl_s, now)
}

/// Whether values of this size may be refused as too big for a record.
pub fn may_be_too_big(state: &State, record_bytes_max: usize) -> bool {
    let bytes: usize = state.bins.values().map(Vec::len).sum();
    bytes + OVERHEAD_BYTES_MAX > record_bytes_max
}

/// For people.
pub(crate) fn describe(state: Option<&State>) -> String {
    let Some(state) = state else {
        return "absent".into();
    };
    let bin = |(name, value): (&Bin, &Vec<u8>)| {
        let front: String = value
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!(" {}={front}..({})", *name as char, value.len())
    };
    let bins: String = state.bins.iter().map(bin).collect();
    format!(
        "set {}, generation {} of {} ms, void {} s,{bins}",
        state.set, state.generation, state.update_time_ms, state.void_time_s
    )
}
