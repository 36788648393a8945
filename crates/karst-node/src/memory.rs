//! How much of the memory that the node may use is in use: the machine's, or its container's.
//!
//! The index lives in memory and nothing takes it out again, so a node that runs out is killed. Memory
//! that the kernel can take back at once (page cache) does not count as used.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crate::node::Node;

/// How often it is looked.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the node's figure up to date for as long as it runs.
pub async fn watch(node: Arc<Node>) {
    loop {
        node.set_memory_percent(percent());
        tokio::time::sleep(PAUSE).await;
    }
}

/// The larger of the machine's part in use and the container's, in percent.
pub fn percent() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| of_machine(&text));
    let group = own_group(&read("/proc/self/cgroup").unwrap_or_default());
    let file = |name: &str| read(&format!("/sys/fs/cgroup{group}/{name}"));
    let container = file("memory.max")
        .zip(file("memory.current"))
        .zip(file("memory.stat"))
        .and_then(|((max, current), stat)| of_container(&max, &current, &stat));
    machine.max(container)
}

/// The path of the process's own control group (version 2).
fn own_group(text: &str) -> String {
    let own = text.lines().find_map(|line| line.strip_prefix("0::"));
    own.filter(|path| *path != "/")
        .unwrap_or_default()
        .to_owned()
}

/// From the text of `/proc/meminfo`.
fn of_machine(text: &str) -> Option<u64> {
    let kbytes = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (total, available) = (kbytes("MemTotal:")?, kbytes("MemAvailable:")?);
    percent_of(total.saturating_sub(available), total)
}

/// From the texts of a control group's `memory.max`, `memory.current` and `memory.stat`.
fn of_container(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max = max.trim().parse::<u64>().ok()?; // "max" is no limit
    let current = current.trim().parse::<u64>().ok()?;
    let cache = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|bytes| bytes.trim().parse::<u64>().ok());
    percent_of(current.saturating_sub(cache.unwrap_or(0)), max)
}

fn percent_of(used: u64, total: u64) -> Option<u64> {
    let percent = (u128::from(used) * 100).checked_div(u128::from(total))?;
    Some(percent as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_can_take_back_is_not_in_use() {
        let meminfo = "MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:    400 kB\n";
        assert_eq!(of_machine(meminfo), Some(60));
        let stat = "anon 100\ninactive_file 300\nactive_file 7\n";
        assert_eq!(of_container("1000\n", "900\n", stat), Some(60));
    }

    #[test]
    fn what_cannot_be_told_is_not_made_up() {
        assert_eq!(of_machine(""), None);
        assert_eq!(of_machine("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
        assert_eq!(of_container("max\n", "900\n", ""), None);
        assert_eq!(of_container("0", "900", ""), None);
        assert_eq!(
            own_group("12:cpu:/x\n0::/system.slice/karst\n"),
            "/system.slice/karst"
        );
        assert_eq!(own_group("0::/\n"), "");
    }
}
