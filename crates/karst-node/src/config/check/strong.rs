//! What a strongly consistent namespace may not be told, and what only it may be.
//!
//! That a record has expired is a matter of clocks, and nodes would not agree on it.

use super::Check;
use crate::config::checked::{Life, Mode};

impl Check<'_> {
    /// Refuses lives that end, and evictions.
    pub(super) fn nothing_ends_by_itself(&mut self, path: &str, life: &Life) {
        let ttl = "records of mode = \"cp\" live for ever: set it to 0, or take it out";
        let touch =
            "records of mode = \"cp\" have no life that a read could make longer: take it out";
        let evict = "nothing of mode = \"cp\" is evicted: take it out";
        let mut refuse_if = |wrong: bool, key: &str, what: &str| {
            if wrong {
                self.refuse(&format!("{path}.{key}"), what);
            }
        };
        refuse_if(life.default_ttl.is_some(), "default_ttl", ttl);
        refuse_if(life.read_touch_percent > 0, "read_touch_percent", touch);
        let limits = &life.limits;
        refuse_if(limits.evict_used_percent > 0, "evict_used_percent", evict);
        refuse_if(limits.evict_index_percent > 0, "evict_index_percent", evict);
        for (at, set) in life.sets.iter().enumerate() {
            let ends = set.default_ttl.is_some_and(|ttl| !ttl.is_zero());
            refuse_if(ends, &format!("set.{at}.default_ttl"), ttl);
            let touches = set.read_touch_percent.is_some_and(|percent| percent > 0);
            refuse_if(touches, &format!("set.{at}.read_touch_percent"), touch);
        }
    }

    /// Complete copies below which no write is taken.
    pub(super) fn min_in_sync(
        &mut self,
        path: &str,
        written: Option<i64>,
        mode: Mode,
        replication_factor: u8,
    ) -> u8 {
        if mode == Mode::Ap && written.is_some() {
            self.refuse(
                path,
                "only mode = \"cp\" has it: whoever is there takes writes otherwise",
            );
            return 1;
        }
        let most = i64::from(replication_factor);
        if written.is_some_and(|number| number > most) {
            let what =
                format!("it is more than replication_factor, {most}: no write would be taken");
            self.refuse(path, &what);
            return 1;
        }
        self.number(path, written, 1, 1..=most) as u8
    }
}
