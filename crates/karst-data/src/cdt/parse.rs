//! From a client's bytes to a typed operation.

use super::path::Step;
use super::select::Select;
use super::selection::{Elements, Packed, Selection, Selector};
use super::{Access, Call, CdtError, CdtOp, kind_of};
use crate::list::{self, ListCall};
use crate::map::{self, MapCall};
use crate::msgpack::{Collection, Head, Reader, comparable, is_key, normalise, storable};

/// First numbers of operations that are more than a call.
const WITH_PATH: i64 = 0xff;
const SELECT: i64 = 0xfe;

/// From this number on operations are for maps.
const FIRST_OF_MAPS: i64 = 64;

/// Most elements of a list to look for.
const ELEMENTS_MAX: usize = 1 << 20;

/// All to the end.
const COUNT_ALL: u64 = u32::MAX as u64;

const VALUE: u64 = 7;
const COUNT: u64 = 5;

type Result<T> = std::result::Result<T, CdtError>;

pub(super) fn operation(payload: &[u8], access: Access) -> Result<CdtOp<'_>> {
    let (code, mut arguments) = call_of(payload)?;
    let op = match code {
        WITH_PATH => with_path(&mut arguments)?,
        SELECT => CdtOp {
            path: Vec::new(),
            call: Call::Select(Select::parse(&mut arguments, access)?),
        },
        code => CdtOp {
            path: Vec::new(),
            call: call(code, arguments)?,
        },
    };
    let is_read = match &op.call {
        Call::List(call) => call.is_read(),
        Call::Map(call) => call.is_read(),
        Call::Malformed(call) => call.is_read,
        Call::Select(_) => access == Access::Read, // it was looked at on the way
    };
    if is_read != (access == Access::Read) {
        return Err(CdtError::Parameter("a read among writes, or the reverse"));
    }
    Ok(op)
}

/// The number of an operation and its arguments: one list, or in old requests two bytes and a list.
fn call_of(payload: &[u8]) -> Result<(i64, Arguments<'_>)> {
    let mut reader = Reader { rest: payload };
    if let [0, code, rest @ ..] = payload {
        let mut arguments = Arguments::of(rest)?;
        if rest.is_empty() {
            arguments.left = 0;
        }
        return Ok((i64::from(*code), arguments));
    }
    let Head::List(count @ 1..) = reader.head()? else {
        return Err(CdtError::Parameter("it is no list with a number"));
    };
    let mut arguments = Arguments {
        reader,
        left: count,
    };
    let code = arguments.index()?;
    Ok((code, arguments))
}

fn with_path<'a>(arguments: &mut Arguments<'a>) -> Result<CdtOp<'a>> {
    arguments.expect(2, 2)?;
    let path = Step::parse_all(arguments.list()?)?;
    let (code, inner) = call_of(arguments.element()?)?;
    Ok(CdtOp {
        path,
        call: call(code, inner)?,
    })
}

/// What follows an operation's number.
pub(super) struct Arguments<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Arguments<'a> {
    /// The elements of a packed list; nothing, of no bytes.
    pub(super) fn of(packed: &'a [u8]) -> Result<Arguments<'a>> {
        let mut reader = Reader { rest: packed };
        if packed.is_empty() {
            return Ok(Arguments { reader, left: 0 });
        }
        match reader.head()? {
            Head::List(left) => Ok(Arguments { reader, left }),
            _ => Err(CdtError::Parameter("it is no list")),
        }
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.left as usize
    }

    /// Refuses another number of arguments than from `least` to `most`.
    pub(super) fn expect(&self, least: usize, most: usize) -> Result<()> {
        if (least..=most).contains(&self.left()) {
            Ok(())
        } else {
            Err(CdtError::Parameter("a wrong number of arguments"))
        }
    }

    /// The next one as it is.
    pub(super) fn element(&mut self) -> Result<&'a [u8]> {
        self.left = self
            .left
            .checked_sub(1)
            .ok_or(CdtError::Parameter("an argument is missing"))?;
        Ok(self.reader.element()?)
    }

    /// The next one, a list, as arguments of its own.
    pub(super) fn list(&mut self) -> Result<Arguments<'a>> {
        let packed = self.element()?;
        if packed.is_empty() {
            return Err(CdtError::Parameter("it is no list"));
        }
        Arguments::of(packed)
    }

    /// An integer that may be negative.
    pub(super) fn index(&mut self) -> Result<i64> {
        match (Reader {
            rest: self.element()?,
        })
        .head()?
        {
            Head::Int { value, .. } => Ok(value),
            _ => Err(CdtError::Parameter("an integer is due")),
        }
    }

    /// An integer that is not negative; a negative one is huge.
    pub(super) fn number(&mut self) -> Result<u64> {
        Ok(self.index()? as u64)
    }

    fn number_or(&mut self, otherwise: u64) -> Result<u64> {
        if self.left == 0 {
            return Ok(otherwise);
        }
        self.number()
    }

    /// An element that is compared with others.
    pub(super) fn comparable(&mut self) -> Result<Packed<'a>> {
        Ok(comparable(self.element()?)?)
    }

    fn comparable_if_any(&mut self) -> Result<Option<Packed<'a>>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.comparable().map(Some)
    }

    /// An element that is to be stored.
    fn storable(&mut self) -> Result<Packed<'a>> {
        Ok(storable(self.element()?)?)
    }

    fn storable_of(&mut self, kind: Collection) -> Result<Packed<'a>> {
        Ok(normalise(self.element()?, kind)?)
    }

    /// A key under which something is to be stored.
    fn key(&mut self) -> Result<Packed<'a>> {
        let key = self.storable()?;
        if is_key(&key) {
            Ok(key)
        } else {
            Err(CdtError::Parameter("no map has such a key"))
        }
    }

    /// What an increment adds; nil, unless it is told.
    fn delta(&mut self) -> Result<Packed<'a>> {
        if self.left == 0 {
            return Ok(Packed::Borrowed(&[0xc0]));
        }
        self.storable()
    }

    /// A list of elements to look for.
    pub(super) fn elements(&mut self) -> Result<Elements<'a>> {
        let packed = self.element()?;
        if kind_of(packed) != Some(Collection::List) {
            return Err(CdtError::Parameter("a list of what to look for is due"));
        }
        let packed = comparable(packed)?;
        let head = list::head(&packed)?;
        if head.count > ELEMENTS_MAX {
            return Err(CdtError::Parameter("too much to look for"));
        }
        let packed = match packed {
            Packed::Borrowed(packed) => Packed::Borrowed(&packed[head.from..]),
            Packed::Owned(mut packed) => Packed::Owned(packed.split_off(head.from)),
        };
        Ok(Elements {
            packed,
            count: head.count,
        })
    }
}

/// A call. What is wrong with the arguments of a known one is kept: it is told only when the call is
/// carried out, after what is wrong with the path and the value.
fn call(code: i64, arguments: Arguments<'_>) -> Result<Call<'_>> {
    let call = if code < FIRST_OF_MAPS {
        list_call(code, arguments).map(Call::List)
    } else {
        map_call(code, arguments).map(Call::Map)
    };
    match (call, Malformed::of(code)) {
        (Err(error), Some(call)) => Ok(Call::Malformed(Malformed { error, ..call })),
        (call, _) => call,
    }
}

/// A call whose arguments mean nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Malformed {
    pub(super) kind: Collection,
    pub(super) is_read: bool,
    /// It takes away, and where there is nothing it does nothing, whatever its arguments.
    pub(super) removes: bool,
    pub(super) error: CdtError,
}

impl Malformed {
    /// What is known of a call by its number; `None` if there is no such call.
    pub(super) fn of(code: i64) -> Option<Malformed> {
        let (kind, is_read, removes) = match code {
            5..=8 | 10 | 11 | 32..=40 => (Collection::List, false, true),
            0..=13 => (Collection::List, false, false),
            16..=27 => (Collection::List, true, false),
            75..=79 | 81..=89 => (Collection::Map, false, true),
            64..=70 | 73 | 74 => (Collection::Map, false, false),
            96..=100 | 102..=110 => (Collection::Map, true, false),
            _ => return None,
        };
        Some(Malformed {
            kind,
            is_read,
            removes,
            error: CdtError::Parameter("no such operation"),
        })
    }
}

fn list_call(code: i64, mut of: Arguments<'_>) -> Result<ListCall<'_>> {
    let (least, most) = match code {
        11 | 16 => {
            return Ok(if code == 11 {
                ListCall::Clear
            } else {
                ListCall::Size
            });
        }
        0 | 5 | 7 | 17 => (1, 1),
        1 | 2 => (1, 3),
        3 | 4 | 9 => (2, 3),
        6 | 8 | 18 => (1, 2),
        10 | 19..=23 | 32..=36 => (2, 2),
        12 => (1, 4),
        13 => (0, 1),
        24..=26 | 37..=39 => (2, 3),
        27 | 40 => (3, 4),
        _ => return Err(CdtError::Parameter("no such operation")),
    };
    of.expect(least, most)?;
    Ok(match code {
        0 => ListCall::SetType(of.number()?),
        1 => ListCall::Append {
            value: of.storable()?,
            order: of.number_or(0)?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        2 => ListCall::AppendItems {
            items: of.storable_of(Collection::List)?,
            order: of.number_or(0)?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        3 => ListCall::Insert {
            index: of.index()?,
            value: of.storable()?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        4 => ListCall::InsertItems {
            index: of.index()?,
            items: of.storable_of(Collection::List)?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        9 => ListCall::Set {
            index: of.index()?,
            value: of.storable()?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        10 => ListCall::Trim {
            index: of.index()?,
            count: of.number()?,
        },
        12 => ListCall::Increment {
            index: of.index()?,
            delta: of.delta()?,
            order: of.number_or(0)?,
            flags: list::WriteFlags(of.number_or(0)?),
        },
        13 => ListCall::Sort(of.number_or(0)?),
        5..=8 => ListCall::Remove(old_selection(code, &mut of)?),
        17 | 18 => ListCall::Get(old_selection(code, &mut of)?),
        19..=27 => ListCall::Get(list_selection(code - 19, &mut of)?),
        _ => ListCall::Remove(list_selection(code - 32, &mut of)?),
    })
}

/// Operations older than return types.
fn old_selection<'a>(code: i64, of: &mut Arguments<'a>) -> Result<Selection<'a>> {
    let index = of.index()?;
    Ok(Selection {
        selector: match code {
            6 | 8 | 18 => Selector::IndexRange(index, of.number_or(COUNT_ALL)?),
            _ => Selector::Index(index),
        },
        return_type: match code {
            7 | 8 => COUNT,
            _ => VALUE,
        },
    })
}

/// Selections from lists, in the order of their numbers.
fn list_selection<'a>(number: i64, of: &mut Arguments<'a>) -> Result<Selection<'a>> {
    let return_type = of.number()?;
    let selector = match number {
        0 => Selector::Index(of.index()?),
        1 => Selector::Value(of.comparable()?),
        2 => Selector::Rank(of.index()?),
        3 => Selector::AllOfValue(of.comparable()?),
        4 => Selector::Values(of.elements()?),
        5 => Selector::IndexRange(of.index()?, of.number_or(COUNT_ALL)?),
        6 => Selector::ValueInterval(of.comparable()?, of.comparable_if_any()?),
        7 => Selector::RankRange(of.index()?, of.number_or(COUNT_ALL)?),
        _ => Selector::RanksNear(of.comparable()?, of.index()?, of.number_or(COUNT_ALL)?),
    };
    Ok(Selection {
        selector,
        return_type,
    })
}

fn map_call(code: i64, mut of: Arguments<'_>) -> Result<MapCall<'_>> {
    let (least, most) = match code {
        75 | 96 => {
            return Ok(if code == 75 {
                MapCall::Clear
            } else {
                MapCall::Size
            });
        }
        64 | 70 => (1, 1),
        65 => (2, 3),
        66 => (1, 2),
        67 => (2, 4),
        68 | 73 | 74 => (1, 3),
        69 | 76..=79 | 81..=83 | 97..=100 | 102 | 107 | 108 => (2, 2),
        84..=87 | 103..=106 => (2, 3),
        88 | 89 | 109 | 110 => (3, 4),
        _ => return Err(CdtError::Parameter("no such operation")),
    };
    of.expect(least, most)?;
    Ok(match code {
        64 => MapCall::SetType(of.number()?),
        65 | 67 | 69 => MapCall::Put {
            key: of.key()?,
            value: of.storable()?,
            order: of.number_or(0)?,
            flags: match code {
                65 => map::WriteFlags::CREATE_ONLY,
                69 => map::WriteFlags::UPDATE_ONLY,
                _ => map::WriteFlags(of.number_or(0)?),
            },
        },
        66 | 68 => MapCall::PutItems {
            items: of.storable_of(Collection::Map)?,
            order: of.number_or(0)?,
            flags: match code {
                66 => map::WriteFlags::CREATE_ONLY,
                _ => map::WriteFlags(of.number_or(0)?),
            },
        },
        70 => MapCall::ReplaceItems {
            items: of.storable_of(Collection::Map)?,
        },
        73 | 74 => MapCall::Increment {
            key: of.key()?,
            delta: of.delta()?,
            order: of.number_or(0)?,
            down: code == 74,
        },
        97.. => MapCall::Get(map_selection(code, &mut of)?),
        _ => MapCall::Remove(map_selection(code, &mut of)?),
    })
}

fn map_selection<'a>(code: i64, of: &mut Arguments<'a>) -> Result<Selection<'a>> {
    let return_type = of.number()?;
    let selector = match code {
        76 | 97 => Selector::Key(of.comparable()?),
        77 | 98 => Selector::Index(of.index()?),
        78 | 99 => Selector::Value(of.comparable()?),
        79 | 100 => Selector::Rank(of.index()?),
        81 | 107 => Selector::Keys(of.elements()?),
        82 | 102 => Selector::AllOfValue(of.comparable()?),
        83 | 108 => Selector::Values(of.elements()?),
        84 | 103 => Selector::KeyInterval(of.comparable()?, of.comparable_if_any()?),
        85 | 104 => Selector::IndexRange(of.index()?, of.number_or(COUNT_ALL)?),
        86 | 105 => Selector::ValueInterval(of.comparable()?, of.comparable_if_any()?),
        87 | 106 => Selector::RankRange(of.index()?, of.number_or(COUNT_ALL)?),
        88 | 109 => Selector::IndexesNear(of.comparable()?, of.index()?, of.number_or(COUNT_ALL)?),
        _ => Selector::RanksNear(of.comparable()?, of.index()?, of.number_or(COUNT_ALL)?),
    };
    Ok(Selection {
        selector,
        return_type,
    })
}
