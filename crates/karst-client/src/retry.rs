//! What may be tried again, when, and how often. Pure: time comes in as an argument.
//!
//! A write is sent again only after a definite failure, so it is never applied twice; unless its policy
//! calls it idempotent, which makes twice as good as once. Pauses double up
//! to a bound, are shortened at random so that many clients do not return in step, and never reach
//! past the call's deadline.

use std::time::{Duration, Instant};

use karst_wire::code::ResultCode;

use crate::error::{Advice, Error};
use crate::policy::RetryPolicy;

/// Longest time anything is waited for; longer wishes mean as much and would overflow the clock.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The moment `wait` from `now`, or the longest wait that is kept.
pub(crate) fn deadline(now: Instant, wait: Duration) -> Instant {
    now + wait.min(WAIT_MAX)
}

/// Whether a call changes records; decides what an unanswered request means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Changes nothing; may be sent as often as wanted.
    Read,
    /// Changes records; unanswered, it is in doubt.
    Write,
}

impl Access {
    /// Whether a request that was sent and not answered is in doubt.
    pub(crate) fn doubts_silence(self) -> bool {
        self == Access::Write
    }

    /// Whether a request answered with `code` is in doubt: only a timeout at the server and a failure
    /// without a cause leave open what happened.
    pub(crate) fn doubts(self, code: ResultCode) -> bool {
        let open = matches!(code, ResultCode::Timeout | ResultCode::Unknown);
        self == Access::Write && open
    }
}

/// Whether a request may be sent again after an attempt that may have been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Only after definite failures.
    IfNotApplied,
    /// Always: applied twice is as good as once.
    Harmless,
}

impl Repeat {
    pub(crate) fn of(idempotent: bool) -> Repeat {
        match idempotent {
            true => Repeat::Harmless,
            false => Repeat::IfNotApplied,
        }
    }

    /// What to do about an error.
    pub(crate) fn advice(self, error: &Error) -> Advice {
        match self {
            Repeat::IfNotApplied => error.advice(),
            Repeat::Harmless => error.advice_if_repeatable(),
        }
    }
}

/// What to do before the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Pause this long.
    pub(crate) pause: Duration,
    /// Learn the partition map anew.
    pub(crate) refresh_map: bool,
}

/// The attempts one call has left.
#[derive(Debug)]
pub(crate) struct Retries {
    left: u32,
    pause: Duration,
    pause_max: Duration,
    deadline: Instant,
}

impl Retries {
    pub(crate) fn new(policy: RetryPolicy, deadline: Instant) -> Retries {
        Retries {
            left: policy.retries_max,
            pause: policy.pause_first.min(policy.pause_max).min(WAIT_MAX),
            pause_max: policy.pause_max.min(WAIT_MAX),
            deadline,
        }
    }

    /// What to do as advised; `None` means that the error is final. `jitter` is between 0 and 1 and
    /// shortens the pause by up to half.
    pub(crate) fn after(&mut self, advice: Advice, now: Instant, jitter: f64) -> Option<Step> {
        let (waits, refresh_map) = match advice {
            Advice::RetryNow => (false, false),
            Advice::RefreshMapAndRetry => (true, true),
            Advice::BackOffAndRetry => (true, false),
            Advice::ReadBeforeRetry | Advice::GiveUp => return None,
        };
        self.left = self.left.checked_sub(1)?;
        let pause = if waits {
            self.next_pause(jitter)
        } else {
            Duration::ZERO
        };
        (now + pause < self.deadline).then_some(Step { pause, refresh_map })
    }

    fn next_pause(&mut self, jitter: f64) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(self.pause_max);
        pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: ResultCode, access: Access) -> Error {
        Error::Server {
            node: "A".into(),
            code,
            in_doubt: access.doubts(code),
        }
    }

    fn retries(retries_max: u32, now: Instant) -> Retries {
        let policy = RetryPolicy {
            retries_max,
            pause_first: Duration::from_millis(4),
            pause_max: Duration::from_millis(10),
        };
        Retries::new(policy, now + Duration::from_secs(1))
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_attempts_end() {
        let now = Instant::now();
        let mut retries = retries(4, now);
        let error = server(ResultCode::DeviceOverload, Access::Write);
        let mut pauses_ms = vec![];
        while let Some(step) = retries.after(error.advice(), now, 0.0) {
            assert!(!step.refresh_map);
            pauses_ms.push(step.pause.as_millis());
        }
        assert_eq!(pauses_ms, [4, 8, 10, 10]);
    }

    #[test]
    fn jitter_shortens_a_pause_by_at_most_half() {
        let now = Instant::now();
        let error = server(ResultCode::DeviceOverload, Access::Read);
        let step = retries(1, now).after(error.advice(), now, 1.0).unwrap();
        assert_eq!(step.pause, Duration::from_millis(2));
    }

    #[test]
    fn wishes_without_end_overflow_nothing() {
        let now = Instant::now();
        let policy = RetryPolicy {
            retries_max: 9,
            pause_first: Duration::MAX,
            pause_max: Duration::MAX,
        };
        let deadline = deadline(now, Duration::MAX);
        assert_eq!(deadline, now + WAIT_MAX);
        let error = server(ResultCode::DeviceOverload, Access::Read);
        let mut retries = Retries::new(policy, deadline);
        assert!(retries.after(error.advice(), now, 0.5).is_some());
        assert!(retries.after(error.advice(), now, 0.0).is_none()); // as long as the call itself
    }

    #[test]
    fn no_attempt_starts_after_the_deadline() {
        let now = Instant::now();
        let error = server(ResultCode::DeviceOverload, Access::Read);
        let late = now + Duration::from_millis(997);
        assert_eq!(retries(9, now).after(error.advice(), late, 0.0), None);
    }

    #[test]
    fn a_write_is_tried_again_only_if_it_was_not_applied() {
        let now = Instant::now();
        let again = |code, access| {
            let error = server(code, access);
            retries(1, now).after(error.advice(), now, 0.0).is_some()
        };
        assert!(again(ResultCode::Unavailable, Access::Write));
        assert!(again(ResultCode::KeyBusy, Access::Write));
        assert!(!again(ResultCode::Timeout, Access::Write));
        assert!(again(ResultCode::Timeout, Access::Read));
        assert!(!again(ResultCode::RecordExists, Access::Write));
    }

    #[test]
    fn an_idempotent_write_is_tried_again_even_in_doubt() {
        let error = server(ResultCode::Timeout, Access::Write);
        assert_eq!(
            Repeat::of(true).advice(&error),
            Advice::BackOffAndRetry,
            "{error}"
        );
        assert_eq!(Repeat::of(false).advice(&error), Advice::ReadBeforeRetry);
        let lasting = server(ResultCode::Generation, Access::Write);
        assert_eq!(Repeat::of(true).advice(&lasting), Advice::GiveUp);
    }

    #[test]
    fn a_certain_failure_after_a_doubtful_attempt_is_in_doubt() {
        let last = server(ResultCode::RecordExists, Access::Write).after_doubt(true);
        assert!(last.in_doubt());
        assert_eq!(last.code(), Some(ResultCode::RecordExists));
        assert_eq!(last.advice(), Advice::ReadBeforeRetry);
        let alone = server(ResultCode::RecordExists, Access::Write).after_doubt(false);
        assert!(!alone.in_doubt());
    }

    #[test]
    fn a_refused_partition_asks_for_a_new_map() {
        let now = Instant::now();
        let error = server(ResultCode::Unavailable, Access::Read);
        assert!(
            retries(1, now)
                .after(error.advice(), now, 0.0)
                .unwrap()
                .refresh_map
        );
    }
}
