//! Truncation: makes the records of a set or a namespace that were last updated before a time vanish.
//!
//! The cluster agrees on a mark first, so that every node has it, then it is on this node's disk, and then it
//! takes effect: what a client saw vanish stays gone. A truncation with a time in the past leaves what was
//! updated since; one without a time means now.

use karst_cluster::state::{Command, Truncation};
use karst_data::key::{NAMESPACE_BYTES_MAX, SET_BYTES_MAX};
use karst_data::time::EPOCH_UNIX_S;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::agreed::{self, Agreed};
use super::{Answer, Asked, Entry, TRUNCATIONS_MAX, entry, no_namespace, refused, text};
use crate::node::{NamespaceState, now};

pub(super) const COMMANDS: &[Entry] = &[
    entry("truncate", |asked| truncate(asked, Scope::Set)),
    entry("truncate-namespace", |asked| {
        truncate(asked, Scope::Namespace)
    }),
    entry("truncate-undo", |asked| undo(asked, Scope::Set)),
    entry("truncate-namespace-undo", |asked| {
        undo(asked, Scope::Namespace)
    }),
];

/// What a truncation asks the cluster to agree to.
pub(super) fn marked(
    asked: &mut Asked<'_>,
    scope: Scope,
    at_ms: u64,
) -> Result<Command, InfoError> {
    let target = target(asked, scope)?;
    Ok(Command::Truncate(Truncation {
        namespace: target.namespace.config.name.clone(),
        set: target.set.unwrap_or_default().to_owned(),
        before_ms: before_ms(asked, at_ms)?,
    }))
}

/// The same of one that is taken back.
pub(super) fn unmarked(asked: &mut Asked<'_>, scope: Scope) -> Result<Command, InfoError> {
    let target = target(asked, scope)?;
    Ok(Command::UndoTruncate {
        namespace: target.namespace.config.name.clone(),
        set: target.set.unwrap_or_default().to_owned(),
    })
}

/// Records last updated before this are meant.
fn before_ms(asked: &Asked<'_>, now_ms: u64) -> Result<u64, InfoError> {
    match asked.params().text("lut", 31)? {
        Some(lut) => cutoff_ms(lut, now_ms),
        // What was acknowledged in this very millisecond goes too; later writes are dated behind it.
        None => Ok(now_ms + 1),
    }
}

/// What a command covers.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// A set.
    Set,
    /// All sets of a namespace.
    Namespace,
}

/// What a command names.
struct Target<'a> {
    namespace: &'a NamespaceState,
    /// `None` for the whole namespace.
    set: Option<&'a str>,
}

impl Target<'_> {
    fn set_bytes(&self) -> Option<&[u8]> {
        self.set.map(str::as_bytes)
    }

    /// A set that never held a record has nothing to truncate, and is not made for it.
    fn is_empty(&self) -> bool {
        let sets = self.namespace.engine.sets();
        self.set_bytes().is_some_and(|set| sets.find(set).is_none())
    }
}

fn target<'a>(asked: &Asked<'a>, scope: Scope) -> Result<Target<'a>, InfoError> {
    let params = asked.params();
    let name = params.require("namespace", NAMESPACE_BYTES_MAX)?;
    let set = match scope {
        Scope::Set => Some(params.require("set", SET_BYTES_MAX)?),
        Scope::Namespace if params.get("set").is_some() => {
            return Err(InfoError::new(ResultCode::Parameter, "unexpected set name"));
        }
        Scope::Namespace => None,
    };
    let (_, namespace) = asked
        .node
        .namespace(name.as_bytes())
        .ok_or_else(no_namespace)?;
    Ok(Target { namespace, set })
}

fn truncate(asked: &mut Asked<'_>, scope: Scope) -> Answer {
    let target = target(asked, scope)?;
    let agreed = asked.memo.agreed.as_ref();
    let now_ms = agreed.map_or_else(|| now().epoch_ms(), Agreed::at_ms);
    let before_ms = before_ms(asked, now_ms)?;
    count(asked)?;
    agreed::next(asked)?;
    if target.is_empty() {
        return text("ok");
    }
    let (name, set) = (
        &target.namespace.config.name,
        target.set.unwrap_or_default(),
    );
    asked
        .node
        .marks
        .set(name, set, before_ms)
        .map_err(not_kept)?;
    match target
        .namespace
        .engine
        .truncate(target.set_bytes(), before_ms)
    {
        Ok(()) => text("ok"),
        Err(reason) => refused(ResultCode::Parameter, reason.to_string()),
    }
}

fn undo(asked: &mut Asked<'_>, scope: Scope) -> Answer {
    let target = target(asked, scope)?;
    count(asked)?;
    agreed::next(asked)?;
    if target.is_empty() {
        return text("ok");
    }
    let (name, set) = (
        &target.namespace.config.name,
        target.set.unwrap_or_default(),
    );
    asked.node.marks.clear(name, set).map_err(not_kept)?;
    target.namespace.engine.undo_truncate(target.set_bytes());
    text("ok")
}

/// Counts a write to disk against the request's limit.
pub(super) fn count(asked: &Asked<'_>) -> Result<(), InfoError> {
    let so_far = asked.memo.truncations.get();
    if so_far == TRUNCATIONS_MAX {
        return Err(InfoError::new(
            ResultCode::Parameter,
            "too many truncations in one request",
        ));
    }
    asked.memo.truncations.set(so_far + 1);
    Ok(())
}

fn not_kept(error: std::io::Error) -> InfoError {
    tracing::error!(%error, "a truncation mark cannot be written; nothing was truncated");
    InfoError::new(
        ResultCode::Unknown,
        "the truncation mark cannot be written to data_dir",
    )
}

/// Reads a cutoff, ns of Unix time, as ms since 2010.
fn cutoff_ms(lut: &str, now_epoch_ms: u64) -> Result<u64, InfoError> {
    let wrong = |message: &'static str| InfoError::new(ResultCode::Parameter, message);
    let unix_ns = number(lut).ok_or_else(|| wrong("bad 'lut'"))?;
    let epoch_ms = (unix_ns / 1_000_000).saturating_sub(EPOCH_UNIX_S * 1000);
    match epoch_ms {
        0 => Err(wrong("would truncate to 0")),
        ms if ms > now_epoch_ms => Err(wrong("would truncate in the future")),
        ms => Ok(ms),
    }
}

/// Reads a number in the manner of C: `0x` for hexadecimal, a leading 0 for octal, decimal otherwise.
fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|digit| digit.is_ascii_alphanumeric()); // no sign
    plain
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cutoff_is_read_in_any_radix_and_kept_between_2010_and_now() {
        let now_ms = 1_000_000;
        let ns = |epoch_ms: u64| (EPOCH_UNIX_S * 1000 + epoch_ms) * 1_000_000;
        let cutoff = |text: &str| cutoff_ms(text, now_ms).map_err(|error| error.to_string());
        for epoch_ms in [1, 77, now_ms] {
            let ns = ns(epoch_ms);
            for text in [
                format!("{ns}"),
                format!("{ns:#x}"),
                format!("{ns:#X}").replace("0X", "0x"),
                format!("0{ns:o}"),
            ] {
                assert_eq!(cutoff(&text), Ok(epoch_ms), "{text}");
            }
        }
        assert_eq!(
            cutoff(&(ns(78) - 1).to_string()),
            Ok(77),
            "rounded down: less is truncated"
        );
        assert_eq!(
            cutoff(&ns(now_ms + 1).to_string()).unwrap_err(),
            "ERROR:4:would truncate in the future"
        );
        for text in ["0", "1", "00", "0x0", &ns(0).to_string()] {
            assert_eq!(
                cutoff(text).unwrap_err(),
                "ERROR:4:would truncate to 0",
                "{text}"
            );
        }
        for text in [
            "soon",
            "-1",
            "+1",
            "0x",
            "09",
            "1.5",
            "99999999999999999999",
        ] {
            assert_eq!(cutoff(text).unwrap_err(), "ERROR:4:bad 'lut'", "{text}");
        }
    }
}
