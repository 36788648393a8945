//! Settings changed while the node runs, under the names by which tools know them: how long a namespace's records
//! live, when they are evicted and when writes stop, and the rules of its sets.
//!
//! A change holds on this node alone, from now until it ends; tools ask every node. What the node starts with is
//! changed in its file, and so is everything else.

use std::time::Duration;

use karst_data::key::SET_BYTES_MAX;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::config::{CONTEXT_BYTES_MAX, invalid_context, named};
use super::truncate::count;
use super::{Answer, Asked, Entry, entry, text};
use crate::config::{LifeChange, SetChange};

pub(super) const COMMANDS: &[Entry] = &[entry("set-config", set), entry("config-set", set)];

/// What a value says; nothing if it is none of its kind.
type Made<C> = fn(&str) -> Option<C>;

const OF_NAMESPACE: [(&str, Made<LifeChange>); 12] = [
    ("default-ttl", |value| {
        Some(LifeChange::DefaultTtl(time(value)?))
    }),
    ("apply-ttl-reductions", |value| {
        Some(LifeChange::ApplyTtlReductions(switch(value)?))
    }),
    ("default-read-touch-ttl-pct", |value| {
        Some(LifeChange::ReadTouchPercent(number(value)?))
    }),
    ("nsup-period", |value| {
        Some(LifeChange::SweepPeriod(time(value)?))
    }),
    ("evict-tenths-pct", |value| {
        Some(LifeChange::EvictTenthsPercent(number(value)?))
    }),
    ("evict-hist-buckets", |value| {
        Some(LifeChange::EvictHistogramBuckets(number(value)?))
    }),
    ("evict-used-pct", |value| {
        Some(LifeChange::EvictUsedPercent(number(value)?))
    }),
    ("evict-indexes-memory-pct", |value| {
        Some(LifeChange::EvictIndexPercent(number(value)?))
    }),
    ("stop-writes-used-pct", |value| {
        Some(LifeChange::StopWritesUsedPercent(number(value)?))
    }),
    ("stop-writes-avail-pct", |value| {
        Some(LifeChange::StopWritesFreeBlocksPercent(number(value)?))
    }),
    ("stop-writes-sys-memory-pct", |value| {
        Some(LifeChange::StopWritesMemoryPercent(number(value)?))
    }),
    ("karst.stop-writes-index-pct", |value| {
        Some(LifeChange::StopWritesIndexPercent(number(value)?))
    }),
];

/// Zero is what holds for the namespace; a life of -1 is for ever.
const OF_SET: [(&str, Made<SetChange>); 5] = [
    ("default-ttl", |value| {
        let ttl = match value {
            "-1" => Some(Duration::ZERO),
            value => Some(time(value)?).filter(|ttl| !ttl.is_zero()),
        };
        Some(SetChange::DefaultTtl(ttl))
    }),
    ("default-read-touch-ttl-pct", |value| {
        let percent = Some(number(value)?).filter(|percent| *percent != 0);
        Some(SetChange::ReadTouchPercent(percent))
    }),
    ("disable-eviction", |value| {
        Some(SetChange::DisableEviction(switch(value)?))
    }),
    ("stop-writes-count", |value| {
        Some(SetChange::StopWritesCount(number(value)?))
    }),
    ("stop-writes-size", |value| {
        Some(SetChange::StopWritesBytes(value.parse().ok()?))
    }),
];

fn set(asked: &mut Asked<'_>) -> Answer {
    match asked.params().text("context", CONTEXT_BYTES_MAX)? {
        Some("namespace") => {}
        Some("service" | "network" | "security" | "xdr") => return Err(fixed()),
        Some(_) | None => return invalid_context(),
    }
    let namespace = named(asked)?;
    let of_set = asked.params().text("set", SET_BYTES_MAX)?;
    let changes = changes(asked, of_set)?;
    count(asked)?;
    let changed = namespace.change_life(|life| namespace.config.life_after(life, &changes));
    changed.map_err(|errors| {
        let first = errors.lines().first().cloned().unwrap_or_default();
        invalid(&first)
    })?;
    let name = &namespace.config.name;
    tracing::info!(
        namespace = name,
        ?changes,
        "settings were changed until the node ends"
    );
    text("ok")
}

/// What a command wants changed: at least one thing, and nothing that is not known.
fn changes(asked: &Asked<'_>, of_set: Option<&str>) -> Result<Vec<LifeChange>, InfoError> {
    let mut changes = Vec::new();
    for (key, value) in asked.params().iter() {
        if [&b"context"[..], b"namespace", b"id", b"set"].contains(&key) {
            continue;
        }
        let (key, value) = (std::str::from_utf8(key), std::str::from_utf8(value));
        let (Ok(key), Ok(value)) = (key, value) else {
            return Err(invalid("not text"));
        };
        // Tools read some under their section's name and write them without it.
        let key = key.strip_prefix("storage-engine.").unwrap_or(key);
        let made = match of_set {
            None => find(&OF_NAMESPACE, key)?(value),
            Some(_) if key == "enable-index" => {
                return Err(invalid("make a set index by sindex-create, indextype=set"));
            }
            Some(set) => {
                let made = find(&OF_SET, key)?(value);
                made.map(|change| LifeChange::OfSet(set.to_owned(), change))
            }
        };
        changes.push(made.ok_or_else(|| invalid(&format!("{key} cannot be that")))?);
    }
    match changes.is_empty() {
        true => Err(invalid("nothing to change")),
        false => Ok(changes),
    }
}

fn find<C>(known: &[(&str, Made<C>)], key: &str) -> Result<Made<C>, InfoError> {
    let found = known.iter().find(|(name, _)| *name == key);
    found.map(|(_, made)| *made).ok_or_else(fixed)
}

/// Seconds, or a number of `s`, `m`, `h` or `d`.
fn time(value: &str) -> Option<Duration> {
    let letter = value.chars().next_back()?.to_ascii_lowercase();
    let seconds_each = match letter {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => 1,
    };
    let digits = match letter {
        's' | 'm' | 'h' | 'd' => &value[..value.len() - 1],
        _ => value,
    };
    let seconds: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds.checked_mul(seconds_each)?))
}

fn number(value: &str) -> Option<i64> {
    value.parse().ok()
}

fn switch(value: &str) -> Option<bool> {
    value.parse().ok()
}

fn fixed() -> InfoError {
    invalid("it cannot be changed while the node runs; edit the configuration file and restart")
}

fn invalid(why: &str) -> InfoError {
    InfoError::new(
        ResultCode::Parameter,
        format!("invalid set-config parameter: {why}"),
    )
}
