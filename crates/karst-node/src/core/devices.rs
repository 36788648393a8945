//! What a failed device means: remembered for good, and what is at stake on it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use karst_data::key::PartitionId;
use karst_io::clock;
use karst_io::op::IoFailure;
use karst_storage::place::DeviceId;

use super::Core;
use crate::failures::{Failure, Stake};
use crate::node::Node;

/// How often it is looked whether a device has failed that is not remembered yet.
const PAUSE: Duration = Duration::from_millis(500);

/// How often what is at stake is counted anew while a device has failed.
const COUNT_EVERY_US: u64 = 10_000_000;

/// Takes the failure of a write. The first of a device is logged and remembered.
pub(super) fn failed(node: &Arc<Node>, index: usize, device: DeviceId, failure: &IoFailure) {
    let namespace = &node.namespaces[index];
    if namespace.engine.log().device_failed(device) {
        return; // what was out to it fails after it
    }
    let path = namespace.devices[usize::from(device.0)].path().display();
    tracing::error!(
        namespace = namespace.config.name, device = %path, error = %failure,
        "a device write failed: the device is never written to again, and only read from, until it is \
         wiped or replaced"
    );
    remember(node, index, device, failure.to_string());
}

fn remember(node: &Arc<Node>, index: usize, device: DeviceId, cause: String) {
    let namespace = &node.namespaces[index];
    let number = namespace.engine.log().config().devices[usize::from(device.0)].number;
    let failure = Failure {
        path: namespace.devices[usize::from(device.0)]
            .path()
            .display()
            .to_string(),
        namespace: namespace.config.name.clone(),
        unix_ms: clock::wall_ms(),
        cause,
    };
    let node = node.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = node.failures.remember(number, failure) {
            tracing::error!(
                %error, number,
                "a device failed and that cannot be written down: after a restart it would be used again"
            );
        }
    });
}

/// Counts what is at stake on failed devices for as long as the node lives.
pub(super) async fn watch(core: Rc<Core>, index: usize) {
    let mut counted_us = None;
    loop {
        tokio::time::sleep(PAUSE).await;
        let log = core.namespace(index).engine.log();
        let devices = (0..log.config().devices.len()).map(|device| DeviceId(device as u8));
        let failed: Vec<DeviceId> = devices
            .filter(|device| log.device_failed(*device))
            .collect();
        let due = counted_us.is_none_or(|at| clock::monotonic_us() - at > COUNT_EVERY_US);
        if failed.is_empty() || !due {
            continue;
        }
        for device in failed {
            count(&core, index, device).await;
        }
        counted_us = Some(clock::monotonic_us());
    }
}

async fn count(core: &Rc<Core>, index: usize, device: DeviceId) {
    let namespace = core.namespace(index);
    let engine = &namespace.engine;
    let mut stake = Stake::default();
    for partition in PartitionId::all() {
        let mut after = None;
        loop {
            let (readable, only_in_memory, next) =
                engine.count_on_device(partition, after, device, |id| engine.log().is_broken(id));
            stake.readable += readable;
            stake.only_in_memory += only_in_memory;
            after = next;
            tokio::task::yield_now().await;
            if after.is_none() {
                break;
            }
        }
    }
    let number = engine.log().config().devices[usize::from(device.0)].number;
    if core.node.failures.stake(number) != Some(stake) {
        let path = namespace.devices[usize::from(device.0)].path().display();
        tracing::error!(
            namespace = namespace.config.name, device = %path, readable = stake.readable,
            only_in_memory = stake.only_in_memory,
            "live records on a failed device: those readable stay so until it is wiped or replaced, \
             those only in memory are gone when the node stops"
        );
    }
    core.node.failures.set_stake(number, stake);
}
