//! What this version does not have, told so that clients and tools carry on: lists are empty, nothing
//! is found, removing what is not there succeeds, and what would create something is refused.

use karst_wire::code::ResultCode;

use super::{Answer, Entry, entry, refused, text};

pub(super) const COMMANDS: &[Entry] = &[
    // More than one node
    entry("quiesce", |_| absent("there is no other node to take over")),
    entry("quiesce-undo", |_| text("ok")),
    entry("tip", |_| {
        absent("clusters of several nodes are not supported")
    }),
    entry("tip-clear", |_| text("ok")),
    // Metadata shared between nodes, and keys of a paid edition
    entry("smd-info", |_| text("")),
    entry("smd-show", |_| text("<empty>")),
    entry("feature-key", |_| text("")),
    // Masking, replication between clusters
    entry("masking", |_| absent("masking is not supported")),
    entry("masking-show", |_| text("")),
    entry("xdr-dc-state", |_| {
        absent("cross-cluster replication is not supported")
    }),
    entry("xdr-get-filter", |_| {
        absent("cross-cluster replication is not supported")
    }),
    entry("xdr-set-filter", |_| {
        absent("cross-cluster replication is not supported")
    }),
];

fn absent(what: &'static str) -> Answer {
    refused(ResultCode::UnsupportedFeature, what)
}
