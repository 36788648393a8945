//! What the kernel says about the processes under test.

use std::fs;
use std::io;
use std::time::Duration;

/// User and system time that a process has spent since it started.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let ticks_per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_secs_f64(
        ticks as f64 / ticks_per_second as f64,
    ))
}

/// The name stands in parentheses and may hold anything, so fields are counted from its end.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?; // field 14 of the line
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_fields_14_and_15_whatever_the_name() {
        let stat = "42 (a) S (b) S 1 42 42 0 -1 4194560 7 0 0 0 150 25 0 0 20 0 5 0 100 1 2";
        assert_eq!(ticks(stat), Some(175));
        assert_eq!(ticks("42 (x) S 1 2"), None);
        assert!(cpu_time(std::process::id()).is_ok());
    }
}
