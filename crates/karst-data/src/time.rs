//! Times of records: expiry and last update.
//!
//! The server epoch is 2010-01-01T00:00:00Z. Expiry ("void time") counts whole seconds from it, zero
//! meaning never; the last update counts milliseconds from it, in 40 bits. No clock is read here:
//! the present is an argument.

/// The server epoch in seconds of Unix time.
pub const EPOCH_UNIX_S: u64 = 1_262_304_000;

/// Longest time to live that a write may ask for, in seconds: ten years.
pub const TTL_S_MAX: u32 = 315_360_000;

/// Largest last-update time that fits its 40 bits, in ms since the server epoch.
pub const UPDATE_TIME_MS_MAX: u64 = (1 << 40) - 1;

/// The present, as handed to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    ms: u64,
}

impl Now {
    /// The server epoch itself.
    pub const EPOCH: Now = Now { ms: 0 };

    /// From ms since the server epoch.
    pub fn from_epoch_ms(ms: u64) -> Now {
        Now {
            ms: ms.min(UPDATE_TIME_MS_MAX),
        }
    }

    /// From ms of Unix time; a time before 2010 counts as the epoch itself.
    pub fn from_unix_ms(ms: u64) -> Now {
        Now::from_epoch_ms(ms.saturating_sub(EPOCH_UNIX_S * 1000))
    }

    /// Ms since the server epoch.
    pub fn epoch_ms(self) -> u64 {
        self.ms
    }

    /// Whole seconds since the server epoch.
    pub fn epoch_s(self) -> u32 {
        (self.ms / 1000) as u32 // 40 bits of ms are under 2^31 s
    }
}

/// Whether a record with this void time is gone. The second of its void time is its last one alive.
pub fn is_expired(void_time_s: u32, now: Now) -> bool {
    void_time_s != 0 && void_time_s < now.epoch_s()
}

/// What a write asks of a record's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// The namespace's default.
    Default,
    /// The record does not expire.
    Never,
    /// The void time stays as it is; on a new record, the default.
    Keep,
    /// Seconds from now, 1 to [`TTL_S_MAX`].
    Seconds(u32),
}

impl Ttl {
    /// Reads the wire's number; `None` when it is out of range.
    pub fn from_wire(ttl: u32) -> Option<Ttl> {
        match ttl {
            0 => Some(Ttl::Default),
            u32::MAX => Some(Ttl::Never),
            0xffff_fffe => Some(Ttl::Keep),
            seconds if seconds <= TTL_S_MAX => Some(Ttl::Seconds(seconds)),
            _ => None,
        }
    }

    /// The void time after a write. `current` is that of the record being updated, `default_ttl_s`
    /// the namespace's default, zero meaning never.
    pub fn void_time(self, current: Option<u32>, default_ttl_s: u32, now: Now) -> u32 {
        let after = |seconds: u32| now.epoch_s().saturating_add(seconds);
        match (self, current) {
            (Ttl::Never, _) => 0,
            (Ttl::Keep, Some(void_time_s)) => void_time_s,
            (Ttl::Seconds(seconds), _) => after(seconds),
            (Ttl::Default | Ttl::Keep, _) if default_ttl_s == 0 => 0,
            (Ttl::Default | Ttl::Keep, _) => after(default_ttl_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lives_through_the_whole_second_of_its_void_time() {
        assert!(!is_expired(100, Now::from_epoch_ms(100_999)));
        assert!(is_expired(100, Now::from_epoch_ms(101_000)));
        assert!(!is_expired(0, Now::from_epoch_ms(UPDATE_TIME_MS_MAX)));
    }

    #[test]
    fn ttl_numbers_of_the_wire_mean_what_clients_mean() {
        let now = Now::from_epoch_ms(1_000_000);
        let void_time = |wire, current| Ttl::from_wire(wire).unwrap().void_time(current, 50, now);
        assert_eq!(void_time(0, None), 1050);
        assert_eq!(void_time(0, Some(7)), 1050);
        assert_eq!(void_time(30, Some(7)), 1030);
        assert_eq!(void_time(u32::MAX, Some(7)), 0);
        assert_eq!(void_time(u32::MAX - 1, Some(7)), 7);
        assert_eq!(void_time(u32::MAX - 1, None), 1050);
        assert_eq!(Ttl::from_wire(TTL_S_MAX + 1), None);
        assert_eq!(Ttl::from_wire(u32::MAX - 2), None);
    }
}
