//! The log, as far as tools ask for it: one sink, standard error, of one context. Its level may be changed
//! until the node ends; filters by module are of the configuration alone.

use karst_wire::code::ResultCode;

use super::truncate::count;
use super::{Answer, Asked, Entry, entry, made, refused, text};
use crate::logs;

pub(super) const COMMANDS: &[Entry] = &[
    entry("logs", |_| text("0:stderr")),
    entry("log", log),
    entry("log-set", set),
    entry("set-log", set),
    entry("log-message", |_| text("")),
];

/// The one context: everything that is said.
const CONTEXT: &str = "karst";

fn log(asked: &mut Asked<'_>) -> Answer {
    let mut arguments = asked.command.arguments();
    if arguments.next() != Some("0") {
        return refused(ResultCode::Parameter, "unknown sink");
    }
    match arguments.next().unwrap_or(CONTEXT) {
        CONTEXT => {
            let filter = logs::filter(&asked.node.config.log);
            made(format!("{CONTEXT}:{}", level(&filter)))
        }
        _ => refused(ResultCode::Parameter, "unknown context"),
    }
}

/// `id=0` and a level for the one context there is, or for any.
fn set(asked: &mut Asked<'_>) -> Answer {
    let bad = |why: &'static str| refused(ResultCode::Parameter, why);
    let params = asked.params();
    if params.get("id") != Some(b"0") {
        return bad("bad parameter: there is one sink, id=0");
    }
    let level = params.get(CONTEXT).or_else(|| params.get("any"));
    let filter = level.and_then(|level| filter(&level.to_ascii_lowercase()));
    let Some(filter) = filter else {
        return bad("bad parameter: karst=critical|warning|info|debug|detail");
    };
    count(asked)?;
    match logs::set_filter(filter) {
        Ok(()) => text("ok"),
        Err(logs::NotTaken) => refused(ResultCode::Unknown, "the log takes no other level"),
    }
}

/// A level in the words of the protocol's tools, as the filter that it stands for.
fn filter(level: &[u8]) -> Option<&'static str> {
    Some(match level {
        b"critical" => "error",
        b"warning" => "warn",
        b"info" => "info",
        b"debug" => "debug",
        b"detail" => "trace",
        _ => return None,
    })
}

/// The level of a filter in the words of the protocol's tools; of a filter by module, the general one.
fn level(filter: &str) -> &'static str {
    let general = filter
        .split(',')
        .map(str::trim)
        .find(|part| !part.contains(['=', '[']));
    match general.unwrap_or_default() {
        "off" | "error" => "CRITICAL",
        "warn" => "WARNING",
        "debug" => "DEBUG",
        "trace" => "DETAIL",
        _ => "INFO",
    }
}
