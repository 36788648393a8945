//! When a namespace is too full: to evict, and to refuse clients' writes.
//!
//! Pure decisions: how full it is and what the limits are come in, a [`Breach`] comes out. Every limit
//! is in percent, and 0 turns it off.
//!
//! ```text
//! 0 ------------- warning (5 points below) ------ limit ------------ 100
//!    nothing said          one log line, an alarm        evict, or refuse writes
//! ```

use std::fmt;

/// How many points below a limit a warning is worth.
pub const WARNING_POINTS: u64 = 5;

/// Part of the index in use, in percent, that is worth a warning whatever the limits are.
pub const INDEX_PERCENT_HIGH: u64 = 90;

/// How full a namespace and its machine are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of live records in the log.
    pub live_bytes: u64,
    /// Bytes of the blocks that clients' records may use.
    pub usable_bytes: u64,
    /// Blocks that can be opened.
    pub free_blocks: u64,
    /// All blocks.
    pub blocks: u64,
    /// Pages of the index that are in use.
    pub index_pages: u64,
    /// Pages that it may have.
    pub index_pages_max: u64,
    /// Memory of the machine, or of the container, in use, in percent; `None` where it is not known.
    pub memory_percent: Option<u64>,
}

/// Limits in percent; 0 is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Records are evicted while live records fill more than this.
    pub evict_used_percent: u8,
    /// Records are evicted while more than this of the index is in use.
    pub evict_index_percent: u8,
    /// Writes are refused while live records fill more than this.
    pub stop_used_percent: u8,
    /// Writes are refused while fewer blocks than this are free.
    pub stop_free_blocks_percent: u8,
    /// Writes are refused while more than this of the index is in use.
    pub stop_index_percent: u8,
    /// Writes are refused while more than this of the machine's memory is in use.
    pub stop_memory_percent: u8,
}

/// What is measured against a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Bytes of live records.
    Used,
    /// Free blocks; the only one of which less is worse.
    FreeBlocks,
    /// Memory of the index.
    Index,
    /// Memory of the machine.
    Memory,
}

/// A limit that was crossed, or nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    /// What was measured.
    pub resource: Resource,
    /// How much of it there is, in percent.
    pub percent: u64,
    /// The limit in percent.
    pub limit_percent: u64,
}

impl Usage {
    /// Live bytes in percent of the usable ones, rounded up: a limit of 50 is crossed by one byte more
    /// than half.
    pub fn used_percent(&self) -> u64 {
        percent_up(self.live_bytes, self.usable_bytes)
    }

    /// Free blocks in percent of all, rounded down.
    pub fn free_percent(&self) -> u64 {
        (self.free_blocks * 100)
            .checked_div(self.blocks)
            .unwrap_or(100)
    }

    /// Index pages in use in percent, rounded up.
    pub fn index_percent(&self) -> u64 {
        percent_up(self.index_pages, self.index_pages_max)
    }

    fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Used => Some(self.used_percent()),
            Resource::FreeBlocks => Some(self.free_percent()),
            Resource::Index => Some(self.index_percent()),
            Resource::Memory => self.memory_percent,
        }
    }

    /// Whether a resource is past a limit, or within `points` of it.
    fn breach(&self, resource: Resource, limit_percent: u8, points: u64) -> Option<Breach> {
        let percent = self.of(resource)?;
        let limit_percent = u64::from(limit_percent);
        let past = match resource {
            Resource::FreeBlocks => percent < limit_percent + points,
            Resource::Used | Resource::Index | Resource::Memory => percent + points > limit_percent,
        };
        (limit_percent > 0 && past).then_some(Breach {
            resource,
            percent,
            limit_percent,
        })
    }
}

impl Limits {
    /// Limits of stop-writes, the first crossed being the one that is told.
    fn stops(&self) -> [(Resource, u8); 4] {
        [
            (Resource::Used, self.stop_used_percent),
            (Resource::FreeBlocks, self.stop_free_blocks_percent),
            (Resource::Index, self.stop_index_percent),
            (Resource::Memory, self.stop_memory_percent),
        ]
    }

    fn evictions(&self) -> [(Resource, u8); 2] {
        [
            (Resource::Used, self.evict_used_percent),
            (Resource::Index, self.evict_index_percent),
        ]
    }

    /// Why clients' writes are refused now, if they are.
    pub fn stop_writes(&self, usage: &Usage) -> Option<Breach> {
        let mut stops = self.stops().into_iter();
        stops.find_map(|(resource, limit)| usage.breach(resource, limit, 0))
    }

    /// Why records are evicted now, if they are.
    pub fn evict(&self, usage: &Usage) -> Option<Breach> {
        let mut limits = self.evictions().into_iter();
        limits.find_map(|(resource, limit)| usage.breach(resource, limit, 0))
    }

    /// Which limits of stop-writes are near but not crossed.
    pub fn near_stop_writes(&self, usage: &Usage) -> Vec<Breach> {
        near(usage, &self.stops())
    }

    /// Which limits of eviction are near but not crossed.
    pub fn near_eviction(&self, usage: &Usage) -> Vec<Breach> {
        near(usage, &self.evictions())
    }

    /// The index, when it is nearly full and no limit of it says so.
    pub fn index_nearly_full(&self, usage: &Usage) -> Option<Breach> {
        let percent = usage.index_percent();
        let told = [self.stop_index_percent, self.evict_index_percent];
        let told = told.iter().any(|limit| *limit > 0);
        (!told && percent >= INDEX_PERCENT_HIGH).then_some(Breach {
            resource: Resource::Index,
            percent,
            limit_percent: 100,
        })
    }
}

fn near(usage: &Usage, limits: &[(Resource, u8)]) -> Vec<Breach> {
    let near = |(resource, limit): &(Resource, u8)| {
        let crossed = usage.breach(*resource, *limit, 0).is_some();
        usage
            .breach(*resource, *limit, WARNING_POINTS)
            .filter(|_| !crossed)
    };
    limits.iter().filter_map(near).collect()
}

fn percent_up(part: u64, whole: u64) -> u64 {
    let part = u128::from(part) * 100;
    if whole == 0 {
        return 0;
    }
    part.div_ceil(u128::from(whole)) as u64
}

impl fmt::Display for Breach {
    /// A sentence's subject and figures, such as `live records fill 86% of the room for them (limit 85%)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, limit) = (self.percent, self.limit_percent);
        match self.resource {
            Resource::Used => write!(f, "live records fill {percent}% of the room for them"),
            Resource::FreeBlocks => write!(f, "{percent}% of the blocks are free"),
            Resource::Index => write!(f, "{percent}% of the index memory is in use"),
            Resource::Memory => write!(f, "{percent}% of the machine's memory is in use"),
        }?;
        write!(f, " (limit {limit}%)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(used: u64, free: u64, index: u64, memory: u64) -> Usage {
        Usage {
            live_bytes: used * 10,
            usable_bytes: 1000,
            free_blocks: free,
            blocks: 100,
            index_pages: index,
            index_pages_max: 100,
            memory_percent: Some(memory),
        }
    }

    const LIMITS: Limits = Limits {
        evict_used_percent: 60,
        evict_index_percent: 70,
        stop_used_percent: 85,
        stop_free_blocks_percent: 5,
        stop_index_percent: 95,
        stop_memory_percent: 90,
    };

    fn stop(usage: &Usage) -> Option<Resource> {
        LIMITS.stop_writes(usage).map(|breach| breach.resource)
    }

    #[test]
    fn a_limit_is_crossed_by_the_first_byte_past_it_and_not_before() {
        let mut usage = usage(85, 5, 95, 90);
        assert_eq!(stop(&usage), None, "at every limit, past none");
        usage.live_bytes += 1;
        assert_eq!(stop(&usage), Some(Resource::Used));
    }

    #[test]
    fn each_limit_stops_writes_by_itself() {
        let calm = [50, 50, 50, 50];
        let cases = [
            ([86, 50, 50, 50], Resource::Used),
            ([50, 4, 50, 50], Resource::FreeBlocks),
            ([50, 50, 96, 50], Resource::Index),
            ([50, 50, 50, 91], Resource::Memory),
        ];
        let of = |[used, free, index, memory]: [u64; 4]| usage(used, free, index, memory);
        assert_eq!(stop(&of(calm)), None);
        for (levels, resource) in cases {
            assert_eq!(stop(&of(levels)), Some(resource));
        }
    }

    #[test]
    fn eviction_follows_its_own_limits() {
        let evicts = |used, index| LIMITS.evict(&usage(used, 50, index, 99)).is_some();
        assert!(!evicts(60, 70));
        assert!(evicts(61, 70));
        assert!(evicts(60, 71));
    }

    #[test]
    fn a_limit_of_zero_is_off_and_an_unknown_memory_stops_nothing() {
        let full = usage(100, 0, 100, 100);
        assert_eq!(Limits::default().stop_writes(&full), None);
        assert_eq!(Limits::default().evict(&full), None);
        assert!(Limits::default().near_stop_writes(&full).is_empty());
        let only_memory = Limits {
            stop_memory_percent: 90,
            ..Limits::default()
        };
        let unknown = Usage {
            memory_percent: None,
            ..full
        };
        assert_eq!(only_memory.stop_writes(&unknown), None);
    }

    #[test]
    fn a_warning_comes_within_five_points_and_ends_where_the_breach_begins() {
        let near = |usage: &Usage| -> Vec<Resource> {
            let near = LIMITS.near_stop_writes(usage);
            near.iter().map(|breach| breach.resource).collect()
        };
        assert!(near(&usage(80, 10, 90, 85)).is_empty());
        let all = [
            Resource::Used,
            Resource::FreeBlocks,
            Resource::Index,
            Resource::Memory,
        ];
        assert_eq!(near(&usage(81, 9, 91, 86)), all);
        assert!(near(&usage(86, 4, 96, 91)).is_empty());
        assert_eq!(LIMITS.near_eviction(&usage(58, 50, 50, 50)).len(), 1);
    }

    #[test]
    fn an_index_without_a_limit_is_told_of_when_it_is_nearly_full() {
        let full = usage(0, 100, 90, 0);
        assert!(Limits::default().index_nearly_full(&full).is_some());
        assert!(LIMITS.index_nearly_full(&full).is_none());
        assert!(
            Limits::default()
                .index_nearly_full(&usage(0, 100, 89, 0))
                .is_none()
        );
    }

    #[test]
    fn nothing_to_measure_is_nothing_to_refuse() {
        assert_eq!(LIMITS.stop_writes(&Usage::default()), None);
    }
}
