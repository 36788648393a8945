//! Collections as trees: what a person writes in a test, what the model works on.
//!
//! Notation: `nil true 5 -5 1.5 "text" #04ff` (a blob), `[1, 2]` and `<1, 2>` (an ordered list), `{1: 2}`,
//! `K{1: 2}` (ordered by key), `V{1: 2}` (by key and value), `P{1: 2}` (in the order of an answer), `*`
//! (wildcard), `inf`. Encodes and decodes by itself, without the code under test.

use std::fmt;

/// One element.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
    List { ordered: bool, items: Vec<Tree> },
    Map { flags: u8, pairs: Vec<(Tree, Tree)> },
    Wild,
    Infinity,
}

impl Tree {
    pub(crate) fn list(items: Vec<Tree>) -> Tree {
        Tree::List {
            ordered: false,
            items,
        }
    }

    pub(crate) fn text(text: &str) -> Tree {
        Tree::Text(text.to_owned())
    }

    /// The canonical packed form.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.pack(&mut out);
        out
    }

    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Tree::Nil => out.push(0xc0),
            Tree::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Tree::Int(value) => pack_int(*value, out),
            Tree::Float(value) => {
                out.push(0xcb);
                out.extend(value.to_be_bytes());
            }
            Tree::Text(text) => pack_raw(3, text.as_bytes(), out),
            Tree::Blob(bytes) => pack_raw(4, bytes, out),
            Tree::List { ordered, items } => {
                pack_count(0x90, 0xdc, items.len() + usize::from(*ordered), out);
                if *ordered {
                    out.extend([0xc7, 0, 1]);
                }
                items.iter().for_each(|item| item.pack(out));
            }
            Tree::Map { flags, pairs } => {
                pack_count(0x80, 0xde, pairs.len() + usize::from(*flags != 0), out);
                if *flags != 0 {
                    out.extend([0xc7, 0, *flags, 0xc0]);
                }
                for (key, value) in pairs {
                    key.pack(out);
                    value.pack(out);
                }
            }
            Tree::Wild => out.extend([0xd4, 0xff, 0]),
            Tree::Infinity => out.extend([0xd4, 0xff, 1]),
        }
    }

    /// From packed bytes, all of them.
    pub(crate) fn unpacked(bytes: &[u8]) -> Tree {
        let mut rest = bytes;
        let tree = unpack(&mut rest);
        assert!(rest.is_empty(), "bytes are left of {bytes:02x?}");
        tree
    }
}

fn pack_int(value: i64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let (head, width) = match value {
        -32..=127 => (None, 1),
        128..=0xff => (Some(0xcc), 1),
        0x100..=0xffff => (Some(0xcd), 2),
        0x1_0000..=0xffff_ffff => (Some(0xce), 4),
        0x1_0000_0000.. => (Some(0xcf), 8),
        -0x80..=-33 => (Some(0xd0), 1),
        -0x8000..=-0x81 => (Some(0xd1), 2),
        -0x8000_0000..=-0x8001 => (Some(0xd2), 4),
        _ => (Some(0xd3), 8),
    };
    out.extend(head);
    out.extend(&bytes[8 - width..]);
}

fn pack_raw(kind: u8, content: &[u8], out: &mut Vec<u8>) {
    let length = content.len() + 1;
    match length {
        0..=31 => out.push(0xa0 + length as u8),
        32..=255 => out.extend([0xd9, length as u8]),
        _ => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.push(kind);
    out.extend(content);
}

fn pack_count(short: u8, medium: u8, count: usize, out: &mut Vec<u8>) {
    if count < 16 {
        out.push(short + count as u8);
    } else if count < 0x1_0000 {
        out.push(medium);
        out.extend((count as u16).to_be_bytes());
    } else {
        out.push(medium + 1);
        out.extend((count as u32).to_be_bytes());
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn number(rest: &mut &[u8], width: usize) -> u64 {
    take(rest, width)
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn unpack(rest: &mut &[u8]) -> Tree {
    let first = take(rest, 1)[0];
    match first {
        0x00..=0x7f => Tree::Int(first.into()),
        0xe0..=0xff => Tree::Int((first as i8).into()),
        0xc0 => Tree::Nil,
        0xc2 | 0xc3 => Tree::Bool(first == 0xc3),
        0xcb => Tree::Float(f64::from_bits(number(rest, 8))),
        0xcc => Tree::Int(number(rest, 1) as i64),
        0xcd => Tree::Int(number(rest, 2) as i64),
        0xce => Tree::Int(number(rest, 4) as i64),
        0xcf | 0xd3 => Tree::Int(number(rest, 8) as i64),
        0xd0 => Tree::Int((number(rest, 1) as i8).into()),
        0xd1 => Tree::Int((number(rest, 2) as i16).into()),
        0xd2 => Tree::Int((number(rest, 4) as i32).into()),
        0xa0..=0xbf => unpack_raw(rest, usize::from(first - 0xa0)),
        0xd9 | 0xda => {
            let length = number(rest, usize::from(first - 0xd8)) as usize;
            unpack_raw(rest, length)
        }
        0xd4 => match take(rest, 2) {
            [0xff, 0] => Tree::Wild,
            [0xff, 1] => Tree::Infinity,
            other => panic!("ext {other:02x?}"),
        },
        0x80..=0x8f => unpack_map(rest, usize::from(first - 0x80)),
        0x90..=0x9f => unpack_list(rest, usize::from(first - 0x90)),
        0xdc | 0xdd => {
            let count = number(rest, if first == 0xdc { 2 } else { 4 }) as usize;
            unpack_list(rest, count)
        }
        0xde | 0xdf => {
            let count = number(rest, if first == 0xde { 2 } else { 4 }) as usize;
            unpack_map(rest, count)
        }
        other => panic!("head {other:02x}"),
    }
}

fn unpack_raw(rest: &mut &[u8], length: usize) -> Tree {
    let content = take(rest, length);
    match content[0] {
        3 => Tree::Text(String::from_utf8(content[1..].to_vec()).expect("text")),
        4 => Tree::Blob(content[1..].to_vec()),
        kind => panic!("type {kind}"),
    }
}

fn unpack_list(rest: &mut &[u8], count: usize) -> Tree {
    let ordered = rest.first() == Some(&0xc7);
    if ordered {
        take(rest, 3);
    }
    let items = (usize::from(ordered)..count)
        .map(|_| unpack(rest))
        .collect();
    Tree::List { ordered, items }
}

fn unpack_map(rest: &mut &[u8], count: usize) -> Tree {
    let mut flags = 0;
    let mut left = count;
    if rest.first() == Some(&0xc7) {
        flags = take(rest, 4)[2];
        left -= 1;
    }
    let pairs = (0..left).map(|_| (unpack(rest), unpack(rest))).collect();
    Tree::Map { flags, pairs }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tree::Nil => write!(f, "nil"),
            Tree::Bool(value) => write!(f, "{value}"),
            Tree::Int(value) => write!(f, "{value}"),
            Tree::Float(value) => write!(f, "{value:?}"),
            Tree::Text(text) => write!(f, "\"{text}\""),
            Tree::Blob(bytes) => {
                write!(f, "#")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Tree::List { ordered, items } => {
                let items: Vec<_> = items.iter().map(Tree::to_string).collect();
                let [open, close] = if *ordered { ["<", ">"] } else { ["[", "]"] };
                write!(f, "{open}{}{close}", items.join(", "))
            }
            Tree::Map { flags, pairs } => {
                let pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key}: {value}"))
                    .collect();
                let mark = match flags {
                    0 => "",
                    1 => "K",
                    3 => "V",
                    8 => "P",
                    other => panic!("flags {other}"),
                };
                write!(f, "{mark}{{{}}}", pairs.join(", "))
            }
            Tree::Wild => write!(f, "*"),
            Tree::Infinity => write!(f, "inf"),
        }
    }
}

/// Reads values from text, one behind the other.
pub(crate) struct Notation<'t> {
    pub(crate) rest: &'t str,
}

impl Notation<'_> {
    /// All values to the end.
    pub(crate) fn all(text: &str) -> Vec<Tree> {
        let mut notation = Notation { rest: text };
        let mut values = Vec::new();
        while !notation.skip().is_empty() {
            values.push(notation.value());
        }
        values
    }

    /// One value, to the end.
    pub(crate) fn one(text: &str) -> Tree {
        let mut values = Notation::all(text);
        assert_eq!(values.len(), 1, "{text}");
        values.remove(0)
    }

    fn skip(&mut self) -> &str {
        self.rest = self.rest.trim_start_matches([' ', ',', '\n']);
        self.rest
    }

    fn eat(&mut self, text: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, close: &str) -> Vec<Tree> {
        let mut items = Vec::new();
        while !self.eat(close) {
            items.push(self.value());
        }
        items
    }

    fn pairs(&mut self, flags: u8) -> Tree {
        let mut pairs = Vec::new();
        while !self.eat("}") {
            let key = self.value();
            assert!(self.eat(":"), "a colon before {}", self.rest);
            pairs.push((key, self.value()));
        }
        Tree::Map { flags, pairs }
    }

    fn value(&mut self) -> Tree {
        for (mark, flags) in [("{", 0), ("K{", 1), ("V{", 3), ("P{", 8)] {
            if self.eat(mark) {
                return self.pairs(flags);
            }
        }
        if self.eat("[") {
            return Tree::list(self.until("]"));
        }
        if self.eat("<") {
            let items = self.until(">");
            return Tree::List {
                ordered: true,
                items,
            };
        }
        if self.eat("\"") {
            let (text, rest) = self.rest.split_once('"').expect("a closing quote");
            self.rest = rest;
            return Tree::text(text);
        }
        if self.eat("#") {
            let digits = self.word();
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex");
            return Tree::Blob((0..digits.len()).step_by(2).map(byte).collect());
        }
        let word = self.word();
        word_value(&word).unwrap_or_else(|| panic!("{word:?} before {:?}", self.rest))
    }

    fn word(&mut self) -> String {
        self.skip();
        let end = self
            .rest
            .find([' ', ',', ':', ']', '>', '}', '\n'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }
}

const RETURN_TYPES: [(&str, i64); 16] = [
    ("NONE", 0),
    ("INDEX", 1),
    ("REVINDEX", 2),
    ("RANK", 3),
    ("REVRANK", 4),
    ("COUNT", 5),
    ("KEY", 6),
    ("VALUE", 7),
    ("KV", 8),
    ("INDEXES", 9),
    ("REVINDEXES", 10),
    ("RANKS", 11),
    ("REVRANKS", 12),
    ("EXISTS", 13),
    ("UMAP", 16),
    ("OMAP", 17),
];

fn word_value(word: &str) -> Option<Tree> {
    let (inverted, name) = match word.strip_prefix('!') {
        Some(name) => (0x10000, name),
        None => (0, word),
    };
    if let Some((_, number)) = RETURN_TYPES.iter().find(|(known, _)| *known == name) {
        return Some(Tree::Int(number + inverted));
    }
    Some(match word {
        "nil" => Tree::Nil,
        "true" => Tree::Bool(true),
        "false" => Tree::Bool(false),
        "*" => Tree::Wild,
        "inf" => Tree::Infinity,
        _ => match word.strip_prefix("0x") {
            Some(digits) => Tree::Int(i64::from_str_radix(digits, 16).ok()?),
            None if word.contains(['.', 'e', 'N']) => Tree::Float(word.parse().ok()?),
            None => Tree::Int(word.parse().ok()?),
        },
    })
}
