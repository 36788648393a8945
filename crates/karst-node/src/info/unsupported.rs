//! What this version does not have, told so that clients and tools carry on: lists are empty, nothing
//! is found, removing what is not there succeeds, and what would create something is refused.

use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, entry, refused, text};

pub(super) const COMMANDS: &[Entry] = &[
    // Secondary indexes
    entry("sindex", sindex),
    entry("sindex-list", |_| text("")),
    entry("sindex-exists", |_| text("false")),
    entry("sindex-stat", |_| no_index()),
    entry("sindex-create", |_| {
        absent("secondary indexes are not supported")
    }),
    entry("sindex-delete", |_| text("ok")), // as for any index that does not exist
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

/// The list of all indexes, of a namespace's, or the state of one.
fn sindex(asked: &mut Asked<'_>) -> Answer {
    let mut arguments = asked.command.arguments();
    match (arguments.next(), arguments.next()) {
        (Some(namespace), _) if asked.node.namespace(namespace.as_bytes()).is_none() => {
            text("ns_type=unknown")
        }
        (_, Some(_)) => no_index(),
        (_, None) => text(""),
    }
}

fn no_index() -> Answer {
    refused(ResultCode::SindexNotFound, "no index")
}

fn absent(what: &'static str) -> Answer {
    refused(ResultCode::UnsupportedFeature, what)
}
