//! Who the node is, which version it speaks, and where it is reached.

use std::fmt::Write as _;

use karst_wire::code::ResultCode;

use super::{Answer, Asked, Entry, FAMILIES, Pairs, entry, made, refused, text};
use crate::config::HostPort;

/// The version whose protocol is spoken: clients choose their commands by it. Karst's own version is in
/// `release`, in the admin service and in `karstd --version`.
const BUILD: &str = "8.1.2.0";

/// Tools look for one of the two editions' names. Karst has no editions, and what they would have to
/// be told of an enterprise edition (feature keys, XDR) is not there, so this is the nearest.
const EDITION: &str = "Aerospike Community Edition";

const VERSION: &str = "Aerospike Community Edition build 8.1.2.0";

/// What clients and tools may rely on. `pscans`, `pquery`, `batch-any`, `query-show` and the `replicas`
/// family are demanded by clients.
const FEATURES: &str = "batch-any;batch-index;blob-bits;cdt-list;cdt-map;cluster-stable;float;geo;peers;pipelining;\
    pquery;pscans;query-show;relaxed-sc;replicas;replicas-all;replicas-master;replicas-max;sindex-exists;truncate-namespace;\
    udf";

pub(super) const COMMANDS: &[Entry] = &[
    entry("node", |asked| made(asked.node.id)),
    entry("name", |asked| made(asked.node.id)),
    entry("build", |_| text(BUILD)),
    entry("build_arch", |_| text(std::env::consts::ARCH)),
    entry("build_ee_sha", |_| text("")),
    entry("build_os", |_| text(std::env::consts::OS)),
    entry("build_sha", |_| text("")),
    entry("build_time", |_| text("")),
    entry("edition", |_| text(EDITION)),
    entry("version", |_| text(VERSION)),
    entry("release", |_| release()),
    entry("features", |_| text(FEATURES)),
    entry("compatibility-id", |_| text("15")),
    entry("status", |_| text("ok")),
    entry("digests", |_| text("RIPEMD160")),
    entry("partitions", |_| text("4096")),
    entry("help", |_| help()),
    entry("connection", |_| text("admin=false")),
    entry("endpoints", endpoints),
    entry("best-practices", |_| text("failed_best_practices=none")),
    entry("service", |asked| made(addresses(asked, ";"))),
    entry("service-clear-std", |asked| made(addresses(asked, ","))),
    entry("service-clear-alt", |_| text("")),
    entry("service-tls-std", |_| text("")),
    entry("service-tls-alt", |_| text("")),
    entry("admin-clear-std", |_| text("")),
    entry("admin-tls-std", |_| text("")),
    entry("mesh", |_| text("")),
    entry("mcast", |_| {
        refused(ResultCode::Parameter, "heartbeat is in mesh mode")
    }),
];

fn release() -> Answer {
    let mut pairs = Pairs::default();
    pairs.put("edition", EDITION);
    pairs.put("version", BUILD);
    pairs.put("os", std::env::consts::OS);
    pairs.put("arch", std::env::consts::ARCH);
    pairs.put("sha", "");
    pairs.put("karst-version", env!("CARGO_PKG_VERSION"));
    pairs.answer()
}

fn help() -> Answer {
    let mut names: Vec<&str> = FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .map(|entry| entry.name)
        .collect();
    names.sort_unstable();
    made(names.join(";"))
}

/// What clients are told to connect to.
fn addresses(asked: &Asked<'_>, separator: &str) -> String {
    let mut list = String::new();
    for address in &asked.node.doors.advertised {
        let before = if list.is_empty() { "" } else { separator };
        // Writing to a string does not fail.
        let _ = write!(list, "{before}{address}");
    }
    list
}

fn endpoints(asked: &mut Asked<'_>) -> Answer {
    let doors = &asked.node.doors;
    let hosts: Vec<String> = doors.advertised.iter().map(host).collect();
    let mut pairs = Pairs::default();
    pairs.put("service.port", doors.service.port());
    pairs.put("service.addresses", doors.service.ip());
    pairs.put(
        "service.access-port",
        doors.advertised.first().map_or(0, |first| first.port),
    );
    pairs.put("service.access-addresses", hosts.join(","));
    pairs.put("service.alternate-access-port", 0);
    pairs.put("service.alternate-access-addresses", "null");
    pairs.put("service.tls-port", 0);
    pairs.put("service.tls-addresses", "null");
    pairs.answer()
}

fn host(address: &HostPort) -> String {
    address.host.clone()
}
