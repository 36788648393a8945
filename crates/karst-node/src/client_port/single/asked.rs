//! What a reply has to know of its request beside the message: which row it is, since when, from whom.

use karst_io::clock;
use karst_wire::code::ResultCode;
use karst_wire::reply::ReplyHead;

use crate::core::Core;
use crate::counters::{Ending, Op};

/// What a reply has to know of its request beside the message.
#[derive(Clone, Copy)]
pub(in crate::client_port) struct Asked {
    /// The client's number for a row of a batch; `None` for a single-record request.
    pub(super) row: Option<u32>,
    /// When it arrived, on the monotonic clock, in microseconds.
    pub(super) at_us: u64,
    /// It is still the turn in which it arrived.
    pub(super) within_turn: bool,
    /// Another node has handed it on: it goes no further.
    pub(super) proxied: bool,
    /// It is part of a query in the background: there is no client that waits for it.
    pub(super) of_query: bool,
}

impl Asked {
    pub(in crate::client_port) fn head(
        self,
        code: ResultCode,
        generation: u16,
        void_time_s: u32,
    ) -> ReplyHead {
        let batch_index = self.row.unwrap_or(0);
        ReplyHead {
            generation,
            void_time_s,
            batch_index,
            ..ReplyHead::of(code)
        }
    }

    fn counted_as(self, single: Op) -> Op {
        match (self.row, single) {
            (_, Op::Udf) if self.of_query => Op::QueryUdf,
            (_, _) if self.of_query => Op::QueryWrite,
            (Some(_), Op::Read) => Op::BatchRead,
            (Some(_), Op::Write) => Op::BatchWrite,
            (Some(_), Op::Delete) => Op::BatchDelete,
            (Some(_), Op::Udf) => Op::BatchUdf,
            (_, op) => op,
        }
    }

    /// A single-record request that arrived in this turn.
    pub(in crate::client_port) fn now(core: &Core) -> Asked {
        Asked {
            row: None,
            at_us: core.now_us(),
            within_turn: true,
            proxied: false,
            of_query: false,
        }
    }

    /// What a query in the background does to one of its records.
    pub(in crate::client_port) fn of_query(core: &Core) -> Asked {
        Asked {
            row: None,
            at_us: core.now_us(),
            within_turn: false,
            proxied: true, // whoever it belongs to by now has been asked too
            of_query: true,
        }
    }

    /// Whether it is that.
    pub(in crate::client_port) fn is_of_query(self) -> bool {
        self.of_query
    }

    /// A row of a batch that arrived at this time.
    pub(in crate::client_port) fn row(row: u32, at_us: u64) -> Asked {
        Asked {
            row: Some(row),
            at_us,
            within_turn: false,
            proxied: false,
            of_query: false,
        }
    }

    /// A request that another node has handed on.
    pub(super) fn proxied(core: &Core, row: Option<u32>) -> Asked {
        Asked {
            row,
            at_us: core.now_us(),
            within_turn: false,
            proxied: true,
            of_query: false,
        }
    }

    /// Counts a request that is answered.
    pub(in crate::client_port) fn count(
        self,
        core: &Core,
        index: usize,
        single: Op,
        ending: Ending,
    ) {
        let (op, counted) = (self.counted_as(single), core.counted(index));
        counted.count(op, ending);
        if self.within_turn {
            core.answered(index, op);
        } else {
            counted.latency[op as usize].record(clock::monotonic_us() - self.at_us, 1);
        }
    }
}
