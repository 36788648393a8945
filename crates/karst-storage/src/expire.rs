//! Which records to evict: those that would expire first, as few as were asked for.
//!
//! A survey counts the records that may be evicted by their void time; [`Survey::cut`] then names the
//! void time up to which they go. Pure: who surveys walks the index and hands in void times.
//!
//! Invariants
//!   a record without a void time is never counted and never cut
//!   a cut covers at most the part asked for, or one second's records if those alone are more
//!   never everything that was counted
//!
//! ```text
//! begins                                                       begins + buckets x width
//!   | bucket 0 | bucket 1 | ...                                          | beyond
//! ```
//!
//! The first survey begins at the present with buckets of one second. A void time past its end makes
//! the buckets twice as wide, as often as it takes, so one walk is enough whatever the longest life is.
//! Where so many records share the first filled bucket that it is too much to take, the walk is made
//! again within that bucket alone ([`Cut::Finer`]), down to single seconds.

/// Counts of void times. See [the module](self).
#[derive(Clone, Debug)]
pub struct Survey {
    begins_s: u32,
    width_s: u32,
    buckets: Box<[u64]>,
    /// Records past the end of a survey that does not widen.
    beyond: u64,
    widens: bool,
}

/// What a survey comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing can be evicted that would leave something.
    Nothing,
    /// Records with a void time up to this one go.
    UpTo {
        /// The last void time that is cut, seconds since 2010.
        void_until_s: u32,
        /// Records counted that this covers.
        records: u64,
    },
    /// Too many records share a bucket: survey again from here, in buckets of this width.
    Finer {
        /// Where to begin.
        begins_s: u32,
        /// How wide a bucket to take, in seconds.
        width_s: u32,
    },
}

impl Survey {
    /// A first survey: of every void time from the present on.
    pub fn from_now(now_s: u32, buckets: usize) -> Survey {
        Survey::new(now_s, 1, buckets, true)
    }

    /// A second look at where [`Cut::Finer`] says.
    pub fn within(begins_s: u32, width_s: u32, buckets: usize) -> Survey {
        Survey::new(begins_s, width_s.max(1), buckets, false)
    }

    fn new(begins_s: u32, width_s: u32, buckets: usize, widens: bool) -> Survey {
        Survey {
            begins_s,
            width_s,
            buckets: vec![0; buckets.max(2)].into(),
            beyond: 0,
            widens,
        }
    }

    /// Counts one record that may be evicted. One that does not expire, or is past, is not.
    pub fn count(&mut self, void_time_s: u32) {
        let Some(after) = void_time_s.checked_sub(self.begins_s) else {
            return;
        };
        if void_time_s == 0 {
            return;
        }
        while self.widens && (after / self.width_s) as usize >= self.buckets.len() {
            self.widen();
        }
        match self.buckets.get_mut((after / self.width_s) as usize) {
            Some(bucket) => *bucket += 1,
            None => self.beyond += 1,
        }
    }

    /// Doubles the width: each pair of buckets becomes one.
    fn widen(&mut self) {
        let length = self.buckets.len();
        for at in 0..length {
            let pair = |offset: usize| self.buckets.get(2 * at + offset).copied().unwrap_or(0);
            self.buckets[at] = pair(0) + pair(1);
        }
        self.width_s = self.width_s.saturating_mul(2);
    }

    /// Records counted.
    pub fn counted(&self) -> u64 {
        self.buckets.iter().sum::<u64>() + self.beyond
    }

    /// Where to cut so that at most `tenths_percent` of what was counted goes.
    pub fn cut(&self, tenths_percent: u32) -> Cut {
        let counted = self.counted();
        let allowed = (u128::from(counted) * u128::from(tenths_percent) / 1000) as u64;
        let mut taken = 0;
        let mut end = 0; // buckets below it are taken
        for (at, bucket) in self.buckets.iter().enumerate() {
            if taken + bucket > allowed {
                break;
            }
            taken += bucket;
            end = at + 1;
        }
        if taken > 0 {
            return self.take(end, taken, counted);
        }
        match self.buckets.iter().position(|bucket| *bucket > 0) {
            None => Cut::Nothing,
            Some(_) if allowed == 0 && tenths_percent == 0 => Cut::Nothing,
            Some(first) if self.width_s == 1 => self.take(first + 1, self.buckets[first], counted),
            Some(first) => Cut::Finer {
                begins_s: self.start_of(first),
                width_s: self.width_s.div_ceil(self.buckets.len() as u32),
            },
        }
    }

    fn take(&self, end: usize, records: u64, counted: u64) -> Cut {
        if records == counted {
            return Cut::Nothing;
        }
        Cut::UpTo {
            void_until_s: self.start_of(end) - 1,
            records,
        }
    }

    /// The first void time of a bucket, or of what lies past the last one.
    fn start_of(&self, bucket: usize) -> u32 {
        let after = (bucket as u64).saturating_mul(u64::from(self.width_s));
        u32::try_from(u64::from(self.begins_s) + after).unwrap_or(u32::MAX)
    }

    /// The counts in `parts` equal stretches from the beginning to past the last record, and the width
    /// of one in seconds: for showing.
    pub fn shown(&self, parts: usize) -> (u32, Vec<u64>) {
        let used = self.buckets.iter().rposition(|bucket| *bucket > 0);
        let used = used.map_or(0, |last| last + 1);
        let per_part = used.div_ceil(parts).max(1);
        let mut shown = vec![0; parts];
        for (at, bucket) in self.buckets[..used].iter().enumerate() {
            shown[at / per_part] += bucket;
        }
        (self.width_s.saturating_mul(per_part as u32), shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u32 = 500_000_000;

    /// Surveys as a caller does until the cut is final.
    fn cut(void_times: &[u32], tenths: u32, buckets: usize) -> Option<(u32, u64)> {
        let mut survey = Survey::from_now(NOW, buckets);
        let all = void_times.len() as u64;
        for _ in 0..40 {
            void_times.iter().for_each(|void| survey.count(*void));
            match survey.cut(tenths) {
                Cut::Nothing => return None,
                Cut::UpTo {
                    void_until_s,
                    records,
                } => {
                    let covered = void_times
                        .iter()
                        .filter(|void| **void != 0 && (NOW..=void_until_s).contains(*void));
                    assert_eq!(covered.count() as u64, records);
                    assert!(records < all, "everything was cut");
                    return Some((void_until_s - NOW, records));
                }
                Cut::Finer { begins_s, width_s } => {
                    survey = Survey::within(begins_s, width_s, buckets);
                }
            }
        }
        panic!("the cut of {all} records is not found");
    }

    #[test]
    fn a_cut_takes_the_part_asked_for_of_those_that_expire_first() {
        let evenly: Vec<u32> = (0..10_000).map(|at| NOW + at).collect();
        assert_eq!(cut(&evenly, 5, 10_000), Some((49, 50)));
        assert_eq!(cut(&evenly, 100, 10_000), Some((999, 1000)));
        let (_, records) = cut(&evenly, 5, 100).expect("coarse buckets are looked into");
        assert!((1..=50).contains(&records), "{records}");
    }

    #[test]
    fn records_that_never_expire_are_not_counted_and_expired_ones_not_either() {
        assert_eq!(cut(&[0, 0, 0, NOW - 1], 1000, 100), None);
        let mut survey = Survey::from_now(NOW, 100);
        for void in [0, NOW - 1, NOW, NOW + 5] {
            survey.count(void);
        }
        assert_eq!(survey.counted(), 2);
    }

    #[test]
    fn nothing_is_cut_rather_than_everything() {
        assert_eq!(cut(&[NOW + 7; 1000], 5, 100), None);
        assert_eq!(cut(&[NOW + 7; 1000], 1000, 100), None);
        assert_eq!(cut(&[], 5, 100), None);
        assert_eq!(cut(&[NOW + 1, NOW + 9], 0, 100), None, "0 turns it off");
    }

    #[test]
    fn a_crowded_second_goes_as_a_whole_when_others_are_left() {
        let mut crowded = vec![NOW + 70_000; 990];
        crowded.extend([NOW + 5_000_000; 10]);
        assert_eq!(cut(&crowded, 5, 100), Some((70_000, 990)));
    }

    #[test]
    fn lives_of_years_and_of_seconds_fit_one_survey() {
        let mut mixed: Vec<u32> = (0..1000).map(|at| NOW + 300_000_000 + at).collect();
        mixed.extend((0..10).map(|at| NOW + at));
        let (until, records) = cut(&mixed, 5, 100).expect("the short-lived go first");
        assert!(until < 10 && records <= 5, "{until} {records}");
        let far = cut(&[u32::MAX, u32::MAX - 1, NOW], 500, 100);
        assert_eq!(far.map(|(_, records)| records), Some(1));
    }

    #[test]
    fn showing_keeps_every_record() {
        let mut survey = Survey::from_now(NOW, 1000);
        (0..777).for_each(|at| survey.count(NOW + at * 13));
        let (width_s, shown) = survey.shown(100);
        assert_eq!((shown.len(), shown.iter().sum::<u64>()), (100, 777));
        assert!(width_s * 100 >= 777 * 13);
        assert_eq!(Survey::from_now(NOW, 10).shown(100).1, vec![0; 100]);
    }
}
