//! The only place below the node where a clock is read. Decision crates are told the time.
//!
//! | clock | steps when set | runs during suspend | for |
//! |---|---|---|---|
//! | [`wall_ms`] | yes | yes | update times, expiry: what must mean the same on every node |
//! | [`monotonic_us`] | no | no | latencies and timeouts of this process |
//! | [`boot_us`] | no | yes | leases: a node that slept must find its lease over |

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Unix time in milliseconds; zero for a clock set before 1970.
pub fn wall_ms() -> u64 {
    units(clock_gettime(ClockId::Realtime), 1_000)
}

/// Microseconds since an arbitrary start, not counting time the machine was suspended.
pub fn monotonic_us() -> u64 {
    units(clock_gettime(ClockId::Monotonic), 1_000_000)
}

/// Microseconds since the machine started, counting time it was suspended.
pub fn boot_us() -> u64 {
    units(clock_gettime(ClockId::Boottime), 1_000_000)
}

fn units(time: Timespec, per_second: u64) -> u64 {
    let Ok(seconds) = u64::try_from(time.tv_sec) else {
        return 0;
    };
    let nanoseconds = time.tv_nsec.unsigned_abs(); // 0..1e9 by contract of the call
    seconds * per_second + nanoseconds / (1_000_000_000 / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_converted_to_their_unit_and_never_wrap_below_zero() {
        let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        assert_eq!(
            units(time(1_700_000_000, 123_456_789), 1_000),
            1_700_000_000_123
        );
        assert_eq!(units(time(5, 999_999_999), 1_000_000), 5_999_999);
        assert_eq!(units(time(-1, 999_999_999), 1_000), 0);
    }

    #[test]
    fn boot_time_is_never_behind_monotonic_time() {
        let monotonic = monotonic_us();
        assert!(boot_us() >= monotonic);
        assert!(monotonic_us() >= monotonic);
        assert!(
            wall_ms() > 1_700_000_000_000,
            "a clock before November 2023"
        );
    }
}
