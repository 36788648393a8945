//! From a client's indexes, ranks and counts to positions among `len` elements.

/// A stretch of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) count: usize,
}

impl Span {
    pub(crate) fn end(self) -> usize {
        self.start + self.count
    }

    /// From two positions; empty, at `start`, if they are the wrong way round.
    pub(crate) fn between(start: usize, end: usize) -> Span {
        Span {
            start,
            count: end.saturating_sub(start),
        }
    }
}

/// One position: negative ones count from the end; `None` if there is no such element.
pub(crate) fn position(at: i64, len: usize) -> Option<usize> {
    let len = i64::try_from(len).ok()?;
    let at = if at < 0 { at + len } else { at };
    (0..len).contains(&at).then_some(at as usize)
}

/// `count` positions from `start` on, cut to what there is.
pub(crate) fn range(start: i64, count: u64, len: usize) -> Span {
    let limit = len as u64;
    let (start, count) = if start >= 0 {
        (start as u64, count)
    } else if start.unsigned_abs() <= limit {
        (limit - start.unsigned_abs(), count)
    } else {
        (0, count.saturating_sub(start.unsigned_abs() - limit))
    };
    let start = start.min(limit);
    Span {
        start: start as usize,
        count: count.min(limit - start) as usize,
    }
}

/// As [`range`], with a start that counts from position `base`, to either side.
pub(crate) fn relative(base: usize, offset: i64, count: u64, len: usize) -> Span {
    let start = (base as i64).saturating_add(offset);
    if start >= 0 {
        range(start, count, len)
    } else {
        range(0, count.saturating_sub(start.unsigned_abs()), len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        let all = u64::from(u32::MAX);
        for (start, count, len, expected) in [
            (0, all, 3, (0, 3)),
            (1, 1, 3, (1, 1)),
            (3, 1, 3, (3, 0)),
            (9, 1, 3, (3, 0)),
            (-1, all, 3, (2, 1)),
            (-3, 2, 3, (0, 2)),
            (-4, 2, 3, (0, 1)),
            (-4, 1, 3, (0, 0)),
            (-9, 2, 3, (0, 0)),
            (-9, all, 3, (0, 3)),
            (i64::MIN, u64::MAX, 3, (0, 3)),
            (i64::MAX, u64::MAX, 3, (3, 0)),
            (0, 5, 0, (0, 0)),
        ] {
            let found = range(start, count, len);
            assert_eq!((found.start, found.count), expected, "{start} {count}");
        }
    }

    #[test]
    fn relative_ranges_lose_what_lies_before_the_first() {
        for (base, offset, count, expected) in [
            (1, 0, 2, (1, 2)),
            (1, -1, 2, (0, 2)),
            (1, -2, 2, (0, 1)),
            (1, -9, 2, (0, 0)),
            (1, 9, 2, (3, 0)),
            (1, i64::MIN, u64::MAX, (0, 3)),
            (1, i64::MAX, 1, (3, 0)),
        ] {
            let found = relative(base, offset, count, 3);
            assert_eq!((found.start, found.count), expected, "{base} {offset}");
        }
    }

    #[test]
    fn one_position_must_exist() {
        assert_eq!(position(-3, 3), Some(0));
        assert_eq!(position(2, 3), Some(2));
        for outside in [-4, 3, i64::MIN, i64::MAX] {
            assert_eq!(position(outside, 3), None);
        }
        assert_eq!(position(0, 0), None);
    }
}
