//! Metrics of devices, write amplification, damage and the scrub.

use std::fmt;

use karst_engine::damage::Kind;
use karst_storage::log::Log;
use karst_storage::place::DeviceId;
use prometheus_client::encoding::DescriptorEncoder;

use super::{BYTES, Figures, Metric, OfDevice, OfNamespace, SECONDS, counter, gauge, rows};
use crate::node::Node;

/// By `namespace`.
pub(super) static NAMESPACE: [OfNamespace; 16] = [
    counter(
        "client_records_appended",
        None,
        "Records and tombstones that clients had appended to the log",
        |figures| figures.space.client_records,
    ),
    counter(
        "client_appended",
        BYTES,
        "Bytes of those, padding to 16 bytes included; log_written_bytes over this is write amplification",
        |figures| figures.space.client_bytes,
    ),
    counter(
        "log_written",
        BYTES,
        "Bytes that came to devices: clients' records, moved ones, block headers and padding",
        |figures| figures.space.written_bytes,
    ),
    gauge(
        "write_amplification_percent",
        None,
        "log_written_bytes in percent of client_appended_bytes, since the start",
        |figures| figures.space.write_amplification_percent().unwrap_or(0),
    ),
    counter(
        "client_flushes",
        None,
        "Device writes of clients' records; client_records_appended over this is writes per flush",
        |figures| figures.client_flushes,
    ),
    gauge(
        "failed_devices",
        None,
        "Devices that are never written to again",
        |figures| figures.space.failed_devices,
    ),
    gauge(
        "unrescued_blocks",
        None,
        "Blocks of failed devices with records that are only in memory",
        |figures| figures.space.unrescued_blocks,
    ),
    gauge(
        "damaged_records",
        None,
        "Live records that cannot be read now",
        |figures| figures.damage.records,
    ),
    gauge(
        "damaged_blocks",
        None,
        "Blocks kept because damaged live records are in them",
        |figures| figures.space.damaged_blocks,
    ),
    counter(
        "damage_left_out",
        None,
        "Damaged records that found no room in the ledger",
        |figures| figures.damage.left_out,
    ),
    counter(
        "damage_passing",
        None,
        "Records that could not be read once and then could",
        |figures| figures.damage.passing,
    ),
    counter(
        "damage_repaired",
        None,
        "Damaged records that were repaired",
        |figures| figures.damage.repaired,
    ),
    counter(
        "scrub_read",
        BYTES,
        "Bytes that the scrub read and compared with the index",
        |figures| figures.scrub.bytes,
    ),
    gauge(
        "scrub_progress_percent",
        None,
        "How far the present pass of the scrub has come",
        |figures| {
            (figures.scrub.next * 100)
                .checked_div(figures.scrub.of)
                .unwrap_or(0)
        },
    ),
    gauge(
        "scrub_last_pass_timestamp",
        SECONDS,
        "When the last whole pass of the scrub ended, since 1970; 0 before the first",
        |figures| figures.scrub.pass_ended_unix_ms / 1000,
    ),
    counter(
        "scrub_damaged_headers",
        None,
        "Blocks that the scrub found with a damaged header, and emptied",
        |figures| figures.scrub.damaged_headers,
    ),
];

/// By `namespace` and `kind`.
static FOUND: Metric<fn(&Figures, Kind) -> u64> = counter(
    "damage_found",
    None,
    "Damaged live records found, by what was wrong with them",
    |figures, kind| figures.damage.found[kind as usize],
);

/// By `namespace` and `device`.
pub(super) static DEVICE: [OfDevice; 3] = [
    counter(
        "device_log_written",
        BYTES,
        "Bytes that came to the device",
        |log, device| log.device_written_bytes(device),
    ),
    gauge(
        "device_free_blocks",
        None,
        "Blocks of the device that can be opened",
        |log, device| log.device_blocks_free(device),
    ),
    gauge(
        "device_slow",
        None,
        "1 while writes to it take many times longer than to others of the namespace",
        |log: &Log, device: DeviceId| {
            u64::from(log.device_slow(device) && !log.device_failed(device))
        },
    ),
];

/// Writes what is told apart by kind.
pub(super) fn write_found(
    encoder: &mut DescriptorEncoder<'_>,
    node: &Node,
    figures: &[Figures],
) -> fmt::Result {
    FOUND.write(encoder, |out| {
        for (namespace, figures) in rows(node, figures) {
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Suspect) {
                let labels = [namespace, ("kind", kind.label())];
                out.number(&labels, (FOUND.value)(figures, kind))?;
            }
        }
        Ok(())
    })
}
