//! Sizes such as `4GiB` and times such as `250ms`, read and written.
//!
//! What is written is exact and reads back to the same value: the largest unit that divides it.

use std::time::Duration;

/// Bytes. `KiB`, `MiB`, ... are powers of 1024; `kB`, `MB`, ... of 1000; a bare number is bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let written = text.trim();
    let size: bytesize::ByteSize = written
        .parse()
        .map_err(|_| format!("\"{text}\" is not a size; write it like \"4GiB\" or \"512KiB\""))?;
    Ok(size.as_u64())
}

/// The text of a size.
pub(super) fn print_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1 << 40, "TiB"),
        (1 << 30, "GiB"),
        (1 << 20, "MiB"),
        (1 << 10, "KiB"),
    ];
    match UNITS
        .iter()
        .find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// A length of time: `0`, `250ms`, `1s`, `30d`, `1h 30m`.
pub(super) fn parse_time(text: &str) -> Result<Duration, String> {
    let written = text.trim();
    if written == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(written).map_err(|_| {
        format!("\"{text}\" is not a time; write it like \"250ms\", \"1s\" or \"30d\"")
    })
}

/// The text of a time, whole milliseconds or finer.
pub(super) fn print_time(time: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = time.as_nanos();
    match UNITS
        .iter()
        .find(|(unit, _)| nanos > 0 && nanos.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        let check = |text: &str, bytes: u64| assert_eq!(parse_size(text), Ok(bytes), "{text}");
        check("4GiB", 4 << 30);
        check("4 GiB", 4 << 30);
        check("512KiB", 512 << 10);
        check("1.5MiB", 3 << 19);
        check("1GB", 1_000_000_000);
        check("4096", 4096);
        check("0", 0);
        for wrong in ["", "GiB", "-1GiB", "4 bananas", "1GiB2", "∞", "0x10"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        let check = |text: &str, ms: u64| {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}")
        };
        check("0", 0);
        check("250ms", 250);
        check("1s", 1000);
        check("1h 30m", 5_400_000);
        check("30d", 30 * 86_400_000);
        for wrong in ["", "10", "-1s", "soon", "99999999999999999999d"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_to_the_same_value() {
        for shift in 0..64 {
            for low in [0, 1, 3, 1023, 1024, 1536] {
                let bytes = (1u64 << shift).wrapping_add(low);
                assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
                assert_eq!(parse_size(&print_size(!bytes)), Ok(!bytes));
                let time = Duration::from_nanos(bytes);
                assert_eq!(parse_time(&print_time(time)), Ok(time));
            }
        }
        for unit in ["0", "1ns", "7us", "250ms", "90s", "90m", "36h", "30d"] {
            assert_eq!(print_time(parse_time(unit).unwrap()), unit);
        }
        for unit in ["7B", "1KiB", "1536KiB", "1MiB", "4GiB", "2TiB"] {
            assert_eq!(print_size(parse_size(unit).unwrap()), unit);
        }
    }
}
