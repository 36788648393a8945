//! The log, as far as tools ask for it: one sink, standard error, whose filter is set in the
//! configuration.

use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, made, refused, text};

pub(super) const COMMANDS: &[Entry] = &[
    entry("logs", |_| text("0:stderr")),
    entry("log", log),
    entry("log-set", |_| fixed()),
    entry("set-log", |_| fixed()),
    entry("log-message", |_| text("")),
];

fn log(asked: &mut Asked<'_>) -> Answer {
    let mut arguments = asked.command.arguments();
    if arguments.next() != Some("0") {
        return refused(ResultCode::Parameter, "unknown sink");
    }
    let context = arguments.next().unwrap_or("karst");
    match context {
        "karst" => made(format!("karst:{}", level(&asked.node.config.log.level))),
        _ => refused(ResultCode::Parameter, "unknown context"),
    }
}

fn fixed() -> Answer {
    refused(
        ResultCode::Parameter,
        "bad parameter: log levels cannot be changed while the node runs; set log.level",
    )
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
