//! The sets of namespaces.

use std::sync::Arc;

use karst_data::time::EPOCH_UNIX_S;
use karst_engine::sets::Set;
use karst_engine::sindex::Named;

use super::{Answer, Asked, Entry, entry, made, printable, text};
use crate::node::NamespaceState;

pub(super) const COMMANDS: &[Entry] = &[entry("sets", sets)];

fn sets(asked: &mut Asked<'_>) -> Answer {
    let mut arguments = asked.command.arguments();
    let namespaces = &asked.node.namespaces;
    let Some(name) = arguments.next().filter(|name| !name.is_empty()) else {
        return made(namespaces.iter().map(of_namespace).collect::<String>());
    };
    let Some((_, namespace)) = asked.node.namespace(name.as_bytes()) else {
        return text("ns_type=unknown");
    };
    let Some(set) = arguments.next().filter(|set| !set.is_empty()) else {
        return made(of_namespace(namespace));
    };
    match namespace.engine.sets().find(set.as_bytes()) {
        Some(number) => made(facts(
            namespace,
            number,
            &namespace.engine.sets().get(number),
        )),
        None => text(""),
    }
}

fn of_namespace(namespace: &NamespaceState) -> String {
    let sets = namespace.engine.sets().all();
    let name = &namespace.config.name;
    let item = |(number, set): (u16, &Arc<Set>)| {
        format!(
            "ns={name}:set={}:{}",
            printable(&set.name),
            facts(namespace, number, set)
        )
    };
    (1..).zip(&sets).map(item).collect()
}

/// What a set holds, and its own settings. Zero means that the namespace's hold, or that there is no
/// limit; a life of -1 is for ever.
fn facts(namespace: &NamespaceState, number: u16, set: &Set) -> String {
    let sindexes = namespace.engine.sindexes();
    let of_set = |it: &&Named| it.index.definition.set.as_bytes() == &*set.name;
    let set_index = sindexes.iter().filter(of_set);
    let set_index = set_index.map(|it| &it.index).find(|it| it.is_of_set());
    let rules = namespace.engine.sets().rules(number);
    let default_ttl = match rules.default_ttl_s {
        None => 0,
        Some(0) => -1,
        Some(ttl_s) => i64::from(ttl_s),
    };
    format!(
        "objects={}:tombstones={}:data_used_bytes={}:truncate_lut={}:sindexes={}:\
         index_populating={}:truncating=false:default-read-touch-ttl-pct={}:\
         default-ttl={default_ttl}:disable-eviction={}:enable-index={}:\
         stop-writes-count={}:stop-writes-size={};",
        set.records(),
        set.tombstones(),
        set.bytes(),
        unix_ns(set.truncated_before_ms()),
        sindexes.iter().filter(of_set).count() - usize::from(set_index.is_some()),
        set_index.is_some_and(|it| !it.is_built()),
        rules.read_touch_percent.unwrap_or(0),
        rules.disable_eviction,
        set_index.is_some(),
        rules.stop_writes_count,
        rules.stop_writes_bytes,
    )
}

/// A truncation mark, ms since 2010, as ns of Unix time; 0 stays 0, for no mark.
pub(super) fn unix_ns(epoch_ms: u64) -> u64 {
    if epoch_ms == 0 {
        0
    } else {
        (EPOCH_UNIX_S * 1000 + epoch_ms) * 1_000_000
    }
}
