//! Queries and jobs. Every query here is short: it runs in its client's connection and ends with it,
//! so none is ever listed and none can be found to be aborted.

use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::{Answer, Asked, Entry, entry, refused, text};

pub(super) const COMMANDS: &[Entry] = &[
    entry("query-show", show),
    entry("query-abort", abort),
    entry("query-abort-all", |_| text("number-of-queries-killed:0")),
];

fn show(asked: &mut Asked<'_>) -> Answer {
    match id(asked)? {
        Some(_) => refused(ResultCode::NotFound, "job not found"),
        None => text(""),
    }
}

fn abort(asked: &mut Asked<'_>) -> Answer {
    match id(asked)? {
        Some(_) => refused(ResultCode::NotFound, "id not active"),
        None => refused(ResultCode::Parameter, "bad id"),
    }
}

/// The job asked for, by today's key or the older one.
fn id(asked: &Asked<'_>) -> Result<Option<u64>, InfoError> {
    let params = asked.params();
    let bad = |_| InfoError::new(ResultCode::Parameter, "bad id");
    let id = match params.text("id", 20)? {
        Some(id) => Some(id),
        None => params.text("trid", 20)?,
    };
    id.map(str::parse).transpose().map_err(bad)
}
