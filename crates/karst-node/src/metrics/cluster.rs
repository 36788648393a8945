//! What is measured of the cluster: partitions by role, copies on their way, answers that other nodes owe.

use std::fmt;

use karst_cluster::map::Role;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Metric, gauge};
use crate::node::Node;
use crate::sight::Sight;

/// By `namespace`.
static REMAINING: Metric<fn(&Sight, &str) -> usize> = gauge(
    "migration_partitions_remaining",
    None,
    "Partition copies of the whole cluster that have yet to move or catch up",
    |sight, name| sight.remaining(name),
);

/// By `namespace` and `role`.
static PARTITIONS: Metric<()> = gauge(
    "partitions",
    None,
    "Partitions of this node, by what it is to them",
    (),
);

/// By `peer`, the other node's name.
static LAG: Metric<()> = gauge(
    "replication_lag_records",
    None,
    "Records that were sent to a node which has not said yet that it has them",
    (),
);

const ROLES: [(Role, &str); 3] = [
    (Role::Primary, "primary"),
    (Role::Replica, "replica"),
    (Role::Joining, "joining"),
];

/// Writes all of them.
pub(super) fn write(encoder: &mut DescriptorEncoder<'_>, node: &Node) -> fmt::Result {
    let sight = node.sights.now();
    let names = || {
        node.namespaces
            .iter()
            .map(|namespace| &*namespace.config.name)
    };
    REMAINING.write(encoder, |out| {
        names().try_for_each(|name| {
            let remaining = (REMAINING.value)(&sight, name);
            out.number(&[("namespace", name)], remaining as u64)
        })
    })?;
    PARTITIONS.write(encoder, |out| {
        for (position, name) in names().enumerate() {
            for (role, label) in ROLES {
                let shares = sight.view.shares(position).iter();
                let count = shares.filter(|share| share.role == role).count();
                out.number(&[("namespace", name), ("role", label)], count as u64)?;
            }
        }
        Ok(())
    })?;
    LAG.write(encoder, |out| {
        let peers = sight.state.nodes.iter().filter(|(id, _)| **id != node.id);
        for (id, member) in peers {
            out.number(&[("peer", &member.facts.name)], node.lags.of(*id))?;
        }
        Ok(())
    })
}
