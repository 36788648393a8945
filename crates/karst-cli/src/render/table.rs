//! The tables and the one screen of `status`, as text.

use std::collections::BTreeMap;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

use super::human;
use crate::view::{
    Alarm, DamagedRecord, Held, Module, Namespace, Node, OnePartition, Owners, Partition, Recovery,
    SecondaryIndex, Set, Status,
};

/// A table without lines: columns line up, nothing else is drawn. Columns after the first
/// `text_columns` hold numbers and are set to the right.
fn table(header: &[&str], text_columns: usize, rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(text_columns) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.add_rows(rows);
    let lines: Vec<_> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// `karst nodes`
pub(crate) fn nodes(nodes: &[Node]) -> String {
    let header = [
        "NODE", "STATE", "SERVICE", "ADMIN", "VERSION", "IO", "RACK", "CORES", "UPTIME", "CLIENTS",
        "REQUESTS", "PRIMARY", "REPLICA", "JOINING",
    ];
    let row = |node: &Node| {
        vec![
            node.name.clone(),
            node.state.to_owned(),
            node.service.clone(),
            node.admin.clone(),
            node.version.clone(),
            node.io.queue.to_owned(),
            node.rack.to_string(),
            node.cores.to_string(),
            human::seconds(node.uptime_seconds),
            human::count(node.connections),
            human::count(node.requests_total),
            human::count(node.partitions.primary),
            human::count(node.partitions.replica),
            human::count(node.partitions.joining),
        ]
    };
    table(&header, 6, nodes.iter().map(row).collect())
}

/// `karst namespaces`
pub(crate) fn namespaces(spaces: &[Namespace]) -> String {
    let header = [
        "NAMESPACE",
        "MODE",
        "ENGINE",
        "WRITES",
        "RF",
        "RECORDS",
        "TOMBSTONES",
        "USED",
        "TOTAL",
        "FULL",
        "FREE BLOCKS",
        "INDEX",
        "B/RECORD",
    ];
    let row = |space: &Namespace| {
        vec![
            space.name.clone(),
            space.mode.to_owned(),
            space.engine.to_owned(),
            if space.stop_writes { "stopped" } else { "ok" }.to_owned(),
            space.replication_factor.to_string(),
            human::count(space.records),
            human::count(space.tombstones),
            human::bytes(space.space.used_bytes),
            human::bytes(space.space.total_bytes),
            human::percent(space.space.used_bytes, space.space.total_bytes),
            human::count(space.space.blocks_free),
            human::bytes(space.index_bytes),
            format!("{:.1}", space.index_bytes_per_record),
        ]
    };
    let mut text = table(&header, 4, spaces.iter().map(row).collect());
    if spaces.iter().any(|space| !space.devices.is_empty()) {
        text.push_str("\n\n");
        text.push_str(&devices(spaces));
    }
    text
}

fn devices(spaces: &[Namespace]) -> String {
    let header = [
        "DEVICE",
        "NODE",
        "NAMESPACE",
        "STATE",
        "USED",
        "SIZE",
        "FULL",
        "FREE BLOCKS",
    ];
    let mut rows = Vec::new();
    for space in spaces {
        for device in &space.devices {
            rows.push(vec![
                device.path.clone(),
                device.node.clone(),
                space.name.clone(),
                device.failure.clone().unwrap_or_else(|| "ok".to_owned()),
                human::bytes(device.used_bytes),
                human::bytes(device.size_bytes),
                human::percent(device.used_bytes, device.size_bytes),
                human::count(device.blocks_free),
            ]);
        }
    }
    table(&header, 4, rows)
}

/// `karst sets`
pub(crate) fn sets(sets: &[Set]) -> String {
    let header = ["NAMESPACE", "SET", "RECORDS", "TOMBSTONES", "DATA"];
    let row = |set: &Set| {
        vec![
            set.namespace.clone(),
            set.name.clone(),
            human::count(set.records),
            human::count(set.tombstones),
            set.data_bytes.map_or_else(|| "-".to_owned(), human::bytes),
        ]
    };
    table(&header, 2, sets.iter().map(row).collect())
}

/// `karst index list`
pub(crate) fn indexes(indexes: &[SecondaryIndex]) -> String {
    if indexes.is_empty() {
        return "no secondary index".to_owned();
    }
    let header = [
        "NAMESPACE",
        "SET",
        "INDEX",
        "OF",
        "TYPE",
        "ELEMENTS",
        "STATE",
    ];
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |index: &SecondaryIndex| {
        let of = match (&index.bin, &index.context) {
            _ if index.of_set => "the set".to_owned(),
            (Some(bin), None) => bin.clone(),
            (Some(bin), Some(_)) => format!("inside {bin}"),
            (None, _) => "expression".to_owned(),
        };
        vec![
            index.namespace.clone(),
            dash(&index.set),
            index.name.clone(),
            of,
            index.r#type.to_owned(),
            index.elements.to_owned(),
            match index.readable {
                true => "ready".to_owned(),
                false => "building".to_owned(),
            },
        ]
    };
    table(&header, header.len(), indexes.iter().map(row).collect())
}

/// What each node counts of one secondary index.
pub(crate) fn index_nodes(nodes: &[(String, BTreeMap<String, String>)]) -> String {
    let row = |(node, stats): &(String, BTreeMap<String, String>)| {
        let stat = |name: &str| stats.get(name).cloned().unwrap_or_else(|| "-".to_owned());
        let number = |name: &str, show: fn(u64) -> String| {
            let text = stat(name);
            text.parse().map_or(text, show)
        };
        vec![
            node.clone(),
            number("entries", human::count),
            number("used_bytes", human::bytes),
            format!("{}%", stat("load_pct")),
        ]
    };
    let header = ["NODE", "ENTRIES", "MEMORY", "BUILT"];
    table(&header, 1, nodes.iter().map(row).collect())
}

/// `karst udf list`
pub(crate) fn modules(modules: &[Module]) -> String {
    if modules.is_empty() {
        return "no module is registered".to_owned();
    }
    let row = |module: &Module| vec![module.name.clone(), module.hash.clone()];
    table(&["MODULE", "HASH"], 2, modules.iter().map(row).collect())
}

/// `karst damage`
pub(crate) fn damage(records: &[DamagedRecord]) -> String {
    if records.is_empty() {
        return "no record is known to be damaged".to_owned();
    }
    let header = [
        "NAMESPACE",
        "DIGEST",
        "VERSION",
        "KIND",
        "FOUND BY",
        "DEVICE",
        "BLOCK",
        "OFFSET",
        "BYTES",
    ];
    let row = |record: &DamagedRecord| {
        vec![
            record.namespace.clone(),
            record.digest.clone(),
            record.version.clone(),
            record.kind.clone(),
            record.found_by.clone(),
            record.device.clone(),
            record.block.to_string(),
            record.offset.to_string(),
            record.bytes.to_string(),
        ]
    };
    table(&header, 6, records.iter().map(row).collect())
}

/// A ratio with two places.
fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

/// How far the present pass of the scrub is, and how many there were.
fn scrubbed(space: &Namespace) -> String {
    match &space.scrub {
        None => "off".to_owned(),
        Some(scrub) => format!(
            "{} of pass {}",
            human::percent(scrub.blocks_done, scrub.blocks_total),
            scrub.passes_total + 1
        ),
    }
}

/// `karst status`: the cluster in one line, then nodes, namespaces, and what is wrong.
pub(crate) fn status(status: &Status, colours: bool) -> String {
    let cluster = &status.cluster;
    let id = match cluster.id.as_str() {
        "" => String::new(),
        id => format!(" ({id})"),
    };
    let mut parts = vec![
        format!(
            "cluster {}{id}: {}, leader {}, map generation {}",
            cluster.name,
            human::plural(status.nodes.len() as u64, "node"),
            cluster.leader.as_deref().unwrap_or("none"),
            cluster.map_generation
        ),
        nodes(&status.nodes),
        namespaces(&status.namespaces),
        partitions(&status.namespaces),
        recoveries(&status.namespaces),
    ];
    parts.extend(io_notes(&status.nodes));
    parts.push(alarms(&status.alarms, colours));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// `karst partitions --contents`
pub(crate) fn partition_contents(partitions: &[Partition]) -> String {
    let header = ["PARTITION", "FINGERPRINT", "RECORDS", "TOMBSTONES"];
    let row = |partition: &Partition| {
        vec![
            partition.number.to_string(),
            partition.fingerprint.clone(),
            human::count(partition.records),
            human::count(partition.tombstones),
        ]
    };
    table(&header, 2, partitions.iter().map(row).collect())
}

/// Names, or a dash for none.
fn names(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(" "),
    }
}

/// `karst partitions --id`
pub(crate) fn one_partition(partition: &OnePartition) -> String {
    let owners = &partition.owners;
    let header = ["NODE", "ROLE", "FINGERPRINT", "RECORDS", "TOMBSTONES"];
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), human::count);
    let row = |held: &Held| {
        vec![
            held.node.clone(),
            held.role.to_owned(),
            held.fingerprint.clone().unwrap_or_else(|| "-".to_owned()),
            number(held.records),
            number(held.tombstones),
        ]
    };
    let mut parts = vec![
        format!(
            "partition {}: {}, regime {}\nreplicas {}, in sync {}, joining {}, apart {}",
            owners.number,
            owners.state,
            owners.regime,
            names(&owners.replicas),
            names(&owners.in_sync),
            names(&owners.joining),
            names(&owners.apart),
        ),
        strong(owners),
        table(&header, 3, partition.nodes.iter().map(row).collect()),
    ];
    let failure = |held: &Held| Some(format!("{}: {}", held.node, held.failure.as_ref()?));
    let failures: Vec<String> = partition.nodes.iter().filter_map(failure).collect();
    parts.push(failures.join("\n"));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n")
}

/// What there is to say of a strongly consistent partition; nothing of another.
fn strong(owners: &Owners) -> String {
    if owners.activated == 0 && owners.prior.is_empty() {
        return String::new();
    }
    let mut text = match owners.prior.as_slice() {
        [] => format!(
            "activated: writes are confirmed by {}",
            names(&owners.in_sync)
        ),
        prior => format!(
            "not activated (the last that was is {}): writes were last confirmed by {}",
            owners.activated,
            names(prior)
        ),
    };
    if !owners.lost.is_empty() {
        text.push_str(&format!(", of whom lost it: {}", names(&owners.lost)));
    }
    text
}

/// A line for each namespace: how far its recovery is, or how it came up.
fn recoveries(spaces: &[Namespace]) -> String {
    let line = |space: &Namespace| {
        let recovery = space.recovery.as_ref()?;
        let text = match recovery.from.as_deref() {
            Some("empty") => return None,
            Some(from) => came_up(recovery, from),
            None => coming_up(recovery),
        };
        Some(format!("{}: {text}", space.name))
    };
    spaces
        .iter()
        .filter_map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

fn came_up(recovery: &Recovery, from: &str) -> String {
    let why = match &recovery.why {
        Some(why) => format!(" ({why})"),
        None => String::new(),
    };
    let seconds = recovery.seconds;
    match from {
        "warm" => format!("came up warm from shared memory in {seconds:.1} s{why}"),
        "checkpoint" => format!(
            "came up from a checkpoint and {} of newer blocks in {seconds:.1} s{why}",
            human::bytes(recovery.scanned_bytes)
        ),
        "scan" => format!(
            "came up by scanning {} in {seconds:.1} s{why}",
            human::bytes(recovery.scanned_bytes)
        ),
        other => format!("came up from {other} in {seconds:.1} s{why}"),
    }
}

fn coming_up(recovery: &Recovery) -> String {
    let eta = match recovery.eta_seconds {
        Some(eta) => format!(", about {} left", human::seconds(eta)),
        None => String::new(),
    };
    format!(
        "recovering, phase {}: {} of {}, {}/s, {} records so far{eta}",
        recovery.phase,
        human::bytes(recovery.done_bytes),
        human::bytes(recovery.total_bytes),
        human::bytes(recovery.bytes_per_second),
        human::count(recovery.records),
    )
}

fn partitions(spaces: &[Namespace]) -> String {
    let header = [
        "PARTITIONS",
        "ACTIVE",
        "RECOVERING",
        "UNAVAILABLE",
        "DEAD",
        "MIGRATIONS",
        "ETA",
        "DEFRAG PENDING",
        "FREED",
        "WRITE AMPL",
        "PER FLUSH",
        "SCRUBBED",
        "DAMAGED",
    ];
    let row = |space: &Namespace| {
        let eta = space.migrations_eta_seconds;
        vec![
            space.name.clone(),
            human::count(space.partitions.active.into()),
            human::count(space.partitions.recovering.into()),
            human::count(space.partitions.unavailable.into()),
            human::count(space.partitions.dead.into()),
            human::count(space.migrations_remaining),
            eta.map_or_else(|| "-".to_owned(), human::seconds),
            human::count(space.defrag.blocks_pending),
            human::count(space.defrag.blocks_freed_total),
            ratio(space.writes.write_amplification),
            ratio(space.writes.writes_per_flush),
            scrubbed(space),
            human::count(space.damage.records),
        ]
    };
    match spaces.is_empty() {
        true => String::new(),
        false => table(&header, 1, spaces.iter().map(row).collect()),
    }
}

/// A line for each node that wanted io_uring and did not get it.
fn io_notes(nodes: &[Node]) -> Option<String> {
    let notes: Vec<_> = nodes
        .iter()
        .filter_map(|node| {
            let reason = node.io.fallback_reason.as_ref()?;
            Some(format!(
                "{}: devices by {}, as {reason}",
                node.name, node.io.queue
            ))
        })
        .collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

fn alarms(alarms: &[Alarm], colours: bool) -> String {
    let line = |alarm: &Alarm| {
        let text = format!("{}: {}: {}", alarm.severity, alarm.subject, alarm.message);
        match (colours, alarm.severity) {
            (true, "critical") => format!("\u{1b}[31m{text}\u{1b}[0m"),
            (true, _) => format!("\u{1b}[33m{text}\u{1b}[0m"),
            (false, _) => text,
        }
    };
    match alarms.is_empty() {
        true => "no alarms".to_owned(),
        false => alarms.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::tests::sample;

    #[test]
    fn status_shows_cluster_nodes_namespaces_fallback_and_alarms() {
        let screen = status(&sample().into(), false);
        for part in [
            "cluster karst (c0ffee): 1 node, leader n1, map generation 7",
            "127.0.0.1:3000",
            "1h 2m",
            "34,000",
            "25%",
            "4,096",
            "n1: devices by threads, as io_uring_setup: EPERM",
            "warning: node n1: io_uring is refused here",
        ] {
            assert!(screen.contains(part), "no {part:?} in\n{screen}");
        }
        assert!(!screen.contains('\u{1b}'), "colours were not asked for");
        let widest = screen.lines().map(|line| line.chars().count()).max();
        assert!(
            widest.is_some_and(|width| width <= 140),
            "{widest:?}\n{screen}"
        );
        assert!(status(&sample().into(), true).contains("\u{1b}[33mwarning"));
    }

    #[test]
    fn a_namespace_says_how_far_it_is_and_later_how_it_came_up() {
        use karst_proto::admin as proto;
        let mut sample = sample();
        sample.namespaces[0].recovery = Some(proto::Recovery {
            phase: "scan".into(),
            done_bytes: 1 << 30,
            total_bytes: 4 << 30,
            bytes_per_second: 1 << 29,
            records: 5000,
            eta_seconds: Some(6),
            ..Default::default()
        });
        let screen = status(&sample.clone().into(), false);
        let line = "test: recovering, phase scan: 1.0 GiB of 4.0 GiB, 512.0 MiB/s, 5,000 records so \
                    far, about 6s left";
        assert!(screen.contains(line), "{screen}");
        sample.namespaces[0].recovery = Some(proto::Recovery {
            phase: "ready".into(),
            from: "scan".into(),
            why: "there is no checkpoint".into(),
            scanned_bytes: 3 << 20,
            seconds: 1.25,
            ..Default::default()
        });
        let screen = status(&sample.into(), false);
        let line = "test: came up by scanning 3.0 MiB in 1.2 s (there is no checkpoint)";
        assert!(screen.contains(line), "{screen}");
    }

    #[test]
    fn columns_line_up() {
        let text = table(
            &["NAME", "N"],
            1,
            vec![
                vec!["a".into(), "1".into()],
                vec!["longer".into(), "1,000".into()],
            ],
        );
        let ends: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(ends, [ends[0]; 3], "{text}");
    }

    #[test]
    fn a_stopped_namespace_says_so() {
        let mut sample = sample();
        sample.namespaces[0].stop_writes = true;
        let view: Status = sample.into();
        assert!(namespaces(&view.namespaces).contains("stopped"));
    }
}
