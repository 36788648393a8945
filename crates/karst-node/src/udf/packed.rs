//! Elements of packed lists and maps, one after the other: what scripts see of them, and how they are packed again.
//!
//! Whole collections are checked, and brought into the form in which they are stored, by `karst_data`.

/// The head of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Text, bytes or GeoJSON: the type byte first.
    Raw(&'a [u8]),
    List(u32),
    Map(u32),
    /// Order flags, or a value that is only compared with.
    Ext(u8),
}

/// The bytes are no packed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

/// Takes elements off the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of this many bytes, unsigned.
    fn number(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .fold(0, |so_far, byte| so_far << 8 | u64::from(*byte)))
    }

    /// The same, signed.
    fn signed(&mut self, bytes: usize) -> Result<i64> {
        let unused = 64 - 8 * bytes as u32;
        Ok((self.number(bytes)? << unused) as i64 >> unused)
    }

    fn raw(&mut self, width: usize) -> Result<Head<'a>> {
        let count = self.number(width)? as usize;
        self.take(count).map(Head::Raw)
    }

    fn ext(&mut self, count: usize) -> Result<Head<'a>> {
        let kind = self.number(1)? as u8;
        self.take(count)?;
        Ok(Head::Ext(kind))
    }

    /// The next element's head; its content follows if it is a collection.
    pub(super) fn head(&mut self) -> Result<Head<'a>> {
        let first = self.number(1)? as u8;
        Ok(match first {
            0x00..=0x7f => Head::Int(i64::from(first)),
            0x80..=0x8f => Head::Map(u32::from(first & 0x0f)),
            0x90..=0x9f => Head::List(u32::from(first & 0x0f)),
            0xa0..=0xbf => Head::Raw(self.take(usize::from(first & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => return Err(Malformed),
            0xc2 | 0xc3 => Head::Bool(first == 0xc3),
            0xc4 | 0xd9 => self.raw(1)?,
            0xc5 | 0xda => self.raw(2)?,
            0xc6 | 0xdb => self.raw(4)?,
            0xc7..=0xc9 => {
                let count = self.number(1 << (first - 0xc7))? as usize;
                self.ext(count)?
            }
            0xca => Head::Double(f64::from(f32::from_bits(self.number(4)? as u32))),
            0xcb => Head::Double(f64::from_bits(self.number(8)?)),
            0xcc..=0xcf => Head::Int(self.number(1 << (first - 0xcc))? as i64),
            0xd0..=0xd3 => Head::Int(self.signed(1 << (first - 0xd0))?),
            0xd4..=0xd8 => self.ext(1 << (first - 0xd4))?,
            0xdc => Head::List(self.number(2)? as u32),
            0xdd => Head::List(self.number(4)? as u32),
            0xde => Head::Map(self.number(2)? as u32),
            0xdf => Head::Map(self.number(4)? as u32),
            0xe0..=0xff => Head::Int(i64::from(first as i8)),
        })
    }

    /// The order flags at the beginning of a collection of this many elements, and how many remain. A map's come
    /// with a nil, which is taken as well.
    pub(super) fn flags(&mut self, count: u32, of_map: bool) -> Result<(u8, u32)> {
        let mut ahead = *self;
        if count == 0 {
            return Ok((0, 0));
        }
        let Head::Ext(flags) = ahead.head()? else {
            return Ok((0, count));
        };
        if of_map {
            ahead.head()?;
        }
        *self = ahead;
        Ok((flags, count - 1))
    }
}

/// Appends an integer.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=0x7f => out.push(value as u8),
        -32..0 => out.push(value as i8 as u8),
        _ => {
            out.push(if value < 0 { 0xd3 } else { 0xcf });
            out.extend(value.to_be_bytes());
        }
    }
}

/// Appends a double.
pub(super) fn put_double(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend(value.to_be_bytes());
}

/// Appends text, bytes or GeoJSON under its type.
pub(super) fn put_raw(out: &mut Vec<u8>, particle: u8, content: &[u8]) {
    match content.len() + 1 {
        short @ 0..=31 => out.push(0xa0 | short as u8),
        long @ 32..=0xffff => {
            out.push(0xda);
            out.extend((long as u16).to_be_bytes());
        }
        longer => {
            out.push(0xdb);
            out.extend((longer as u32).to_be_bytes()); // no content is near as long
        }
    }
    out.push(particle);
    out.extend(content);
}

/// Appends the head of a list.
pub(super) fn put_list(out: &mut Vec<u8>, count: u32) {
    put_count(out, 0x90, 0xdc, count);
}

/// Appends the head of a map, with its order flags if it has any.
pub(super) fn put_map(out: &mut Vec<u8>, count: u32, flags: u8) {
    put_count(out, 0x80, 0xde, count + u32::from(flags != 0));
    if flags != 0 {
        out.extend([0xc7, 0, flags, 0xc0]);
    }
}

fn put_count(out: &mut Vec<u8>, short: u8, medium: u8, count: u32) {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend((count as u16).to_be_bytes());
        }
        _ => {
            out.push(medium + 1);
            out.extend(count.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_again() {
        let integers = [0, 1, 127, 128, -1, -32, -33, 1 << 40, i64::MAX, i64::MIN];
        for value in integers {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(Reader(&out).head(), Ok(Head::Int(value)));
        }
        for bytes in [0, 30, 31, 32, 255, 256, 70_000] {
            let (mut out, content) = (Vec::new(), vec![7; bytes]);
            put_raw(&mut out, 4, &content);
            assert_eq!(
                Reader(&out).head(),
                Ok(Head::Raw(&[&[4], &*content].concat()))
            );
        }
        for count in [0, 15, 16, 70_000] {
            let (mut list, mut map) = (Vec::new(), Vec::new());
            put_list(&mut list, count);
            put_map(&mut map, count, 1);
            assert_eq!(Reader(&list).head(), Ok(Head::List(count)));
            let mut reader = Reader(&map);
            assert_eq!(reader.head(), Ok(Head::Map(count + 1)));
            assert_eq!(reader.flags(count + 1, true), Ok((1, count)));
        }
    }

    #[test]
    fn short_numbers_keep_their_sign() {
        let read = |bytes: &'static [u8]| Reader(bytes).head();
        assert_eq!(read(&[0xcc, 0xff]), Ok(Head::Int(255)));
        assert_eq!(read(&[0xd0, 0xff]), Ok(Head::Int(-1)));
        assert_eq!(read(&[0xd1, 0x80, 0]), Ok(Head::Int(-32_768)));
        assert_eq!(read(&[0xd2, 0xff, 0xff, 0xff, 0xfe]), Ok(Head::Int(-2)));
        assert_eq!(read(&[0xca, 0x3f, 0x80, 0, 0]), Ok(Head::Double(1.0)));
    }

    #[test]
    fn bytes_that_end_early_are_malformed() {
        for bytes in [
            &[][..],
            &[0xc1],
            &[0xa3, 1],
            &[0xcf, 1],
            &[0xdb, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(Reader(bytes).head(), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(Reader(&[]).flags(3, false), Err(Malformed));
    }
}
