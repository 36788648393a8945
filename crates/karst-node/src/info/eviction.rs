//! Eviction on demand, and its undoing.

use karst_data::key::NAMESPACE_BYTES_MAX;
use karst_data::time::TTL_S_MAX;
use karst_wire::code::ResultCode;
use karst_wire::info::InfoError;

use super::truncate::count;
use super::{Answer, Asked, Entry, entry, no_namespace, text};
use crate::core::evict;
use crate::node::now;

pub(super) const COMMANDS: &[Entry] = &[entry("eviction-reset", reset)];

/// Without `ttl`: takes every mark away. What was not swept yet is seen again at once; what was, and
/// whose blocks were not used again, at the next start. With `ttl`: evicts what has no more than so
/// many seconds to live.
fn reset(asked: &mut Asked<'_>) -> Answer {
    let params = asked.params();
    let name = params.require("namespace", NAMESPACE_BYTES_MAX)?;
    let (index, _) = asked
        .node
        .namespace(name.as_bytes())
        .ok_or_else(no_namespace)?;
    let ttl_s = match params.text("ttl", 20)? {
        None => None,
        Some(ttl) => Some(
            ttl.parse::<u32>()
                .ok()
                .filter(|ttl_s| *ttl_s <= TTL_S_MAX)
                .ok_or_else(|| InfoError::new(ResultCode::Parameter, "bad 'ttl'"))?,
        ),
    };
    count(asked)?;
    let done = match ttl_s {
        None => evict::change(asked.node, index, |_| Vec::new()),
        Some(ttl_s) => evict::mark(asked.node, index, now().epoch_s().saturating_add(ttl_s)),
    };
    done.map_err(|error| {
        tracing::error!(%error, "eviction marks cannot be written; nothing has changed");
        InfoError::new(
            ResultCode::Unknown,
            "the eviction marks cannot be written to data_dir",
        )
    })?;
    text("ok")
}
