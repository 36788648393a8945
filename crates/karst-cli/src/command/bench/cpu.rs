//! CPU time of processes on this machine, from `/proc/PID/stat`.

use std::time::Duration;

/// The name of the server's process. A process id that belongs to something else is not measured.
const SERVER_NAME: &str = "karstd";

/// User and system time of some processes since they started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTime(Duration);

impl CpuTime {
    /// Of all of these servers; `None` if one of them is not on this machine.
    pub(super) fn of_servers(pids: &[u32]) -> Option<CpuTime> {
        let times = pids
            .iter()
            .map(|pid| read(&pid.to_string(), Some(SERVER_NAME)));
        let sum = times.sum::<Option<Duration>>()?;
        (!pids.is_empty()).then_some(CpuTime(sum))
    }

    /// Of this process.
    pub(super) fn own() -> Option<CpuTime> {
        read("self", None).map(CpuTime)
    }

    /// What was spent between two readings.
    pub(super) fn between(before: Option<CpuTime>, after: Option<CpuTime>) -> Option<Duration> {
        after?.0.checked_sub(before?.0) // a server that was restarted meanwhile has no answer
    }
}

fn read(pid: &str, name: Option<&str>) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = ticks(&stat, name)?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_secs_f64(
        ticks as f64 / ticks_per_second as f64,
    ))
}

/// User and system time in ticks. The name stands in parentheses and may hold anything, so fields
/// are counted from the last one.
fn ticks(stat: &str, name: Option<&str>) -> Option<u64> {
    let (head, fields) = stat.rsplit_once(") ")?;
    let (_, found) = head.split_once(" (")?;
    if name.is_some_and(|name| name != found) {
        return None;
    }
    let mut fields = fields.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?; // field 14 of the line
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (karstd) S 1 42 42 0 -1 4194560 7 0 0 0 150 25 0 0 20 0 5 0 100 1 2";

    #[test]
    fn user_and_system_time_are_fields_14_and_15() {
        assert_eq!(ticks(STAT, Some("karstd")), Some(175));
        assert_eq!(ticks(STAT, Some("sleep")), None);
        let tricky = STAT.replace("karstd", "a) S (b");
        assert_eq!(ticks(&tricky, None), Some(175));
        for wrong in ["", "42 (karstd) S 1 2 3", "42 karstd S"] {
            assert_eq!(ticks(wrong, None), None, "{wrong}");
        }
    }

    #[test]
    fn time_is_the_difference_and_unknown_if_it_ran_backwards() {
        let at = |seconds| Some(CpuTime(Duration::from_secs(seconds)));
        assert_eq!(CpuTime::between(at(1), at(3)), Some(Duration::from_secs(2)));
        assert_eq!(CpuTime::between(at(3), at(1)), None);
        assert_eq!(CpuTime::between(None, at(1)), None);
    }

    #[test]
    fn this_process_spends_time_and_strangers_are_not_servers() {
        assert!(CpuTime::own().is_some());
        assert_eq!(CpuTime::of_servers(&[]), None);
        assert_eq!(CpuTime::of_servers(&[std::process::id()]), None);
    }
}
