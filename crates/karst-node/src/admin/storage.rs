//! What the admin service says of devices that failed, of damage, the scrub and write amplification.

use karst_proto::admin as proto;
use karst_storage::place::DeviceId;

use super::alarm;
use crate::core::hex;
use crate::metrics::Figures;
use crate::node::{NamespaceState, Node};

/// Why a device was given up and what is at stake on it; `None` while it works.
pub(super) fn failure(node: &Node, namespace: &NamespaceState, device: DeviceId) -> Option<String> {
    let log = namespace.engine.log();
    if !log.device_failed(device) {
        return None;
    }
    let number = log.config().devices[usize::from(device.0)].number;
    let cause = node
        .failures
        .of(number)
        .map(|failure| format!(" ({})", failure.cause));
    let stake = match node.failures.stake(number) {
        Some(stake) => format!(
            "{} live records on it can be read, {} are only in memory and gone at the next stop",
            stake.readable, stake.only_in_memory
        ),
        None => "what is on it is being counted".into(),
    };
    Some(format!(
        "a write to it failed{}: it is only read from until it is wiped or replaced; {stake}",
        cause.unwrap_or_default()
    ))
}

/// What clients wrote and what came to devices.
pub(super) fn writes(figures: &Figures) -> proto::Writes {
    proto::Writes {
        client_records_total: figures.space.client_records,
        client_bytes_total: figures.space.client_bytes,
        written_bytes_total: figures.space.written_bytes,
        flushes_total: figures.client_flushes,
        stalled_total: figures.stalled_writes,
    }
}

/// How far the scrub has come; `None` when it is off.
pub(super) fn scrub(namespace: &NamespaceState, figures: &Figures) -> Option<proto::Scrub> {
    let rate = namespace.config.storage.scrub_rate?;
    let progress = figures.scrub;
    Some(proto::Scrub {
        bytes_per_second: rate,
        blocks_done: progress.next,
        blocks_total: progress.of,
        passes_total: progress.passes,
        last_pass_unix_ms: progress.pass_ended_unix_ms,
        bytes_read_total: progress.bytes,
        damaged_headers_total: progress.damaged_headers,
    })
}

/// How much is damaged.
pub(super) fn damage(figures: &Figures) -> proto::DamageCounts {
    let found = figures.damage.found;
    let kinds = karst_engine::damage::Kind::ALL.into_iter();
    proto::DamageCounts {
        records: figures.damage.records,
        found_total: kinds.map(|kind| found[kind as usize]).sum(),
        left_out_total: figures.damage.left_out,
        passing_total: figures.damage.passing,
        repaired_total: figures.damage.repaired,
        blocks: figures.space.damaged_blocks,
    }
}

/// The damaged live records of a namespace.
pub(super) fn damaged(namespace: &NamespaceState) -> Vec<proto::DamagedRecord> {
    let engine = &namespace.engine;
    let record = |damaged: karst_engine::damage::Damaged| {
        let block = engine.log().block_of(damaged.place);
        let device = namespace.devices.get(usize::from(block.device.0));
        proto::DamagedRecord {
            namespace: namespace.config.name.clone(),
            digest: hex(&damaged.digest.0),
            version: damaged.version.to_string(),
            device: device
                .map(|device| device.path().display().to_string())
                .unwrap_or_default(),
            block: block.block,
            offset: damaged.place.start.bytes(),
            bytes: damaged.place.length.bytes(),
            kind: damaged.kind.label().into(),
            found_by: damaged.found_by.label().into(),
        }
    };
    engine.damaged().into_iter().map(record).collect()
}

/// What an operator should know of damage.
pub(super) fn damage_alarms(
    namespace: &NamespaceState,
    figures: &Figures,
    alarms: &mut Vec<proto::Alarm>,
) {
    let records = figures.damage.records;
    if records > 0 {
        let text = format!(
            "{records} live records are damaged and answered with an error until they are written, \
             deleted or repaired: `karst damage` lists them"
        );
        let subject = format!("namespace {}", namespace.config.name);
        alarms.push(alarm(proto::Severity::Critical, subject, text));
    }
}
