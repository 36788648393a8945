//! POSIX regular expressions, as the C library takes them, in the words of the `regex` crate.
//!
//! Both syntaxes are there: the extended one, and the basic one in which `\(`, `\{` and with GNU also `\+`,
//! `\?`, `\|` are the operators. Text is bytes; letters are those of ASCII. What matches is all that is asked,
//! so which of several matches is the longest does not matter. References back to groups are refused:
//! matching them can take exponential time, and the crate promises linear.
//!
//! Linear is the length of the text times the size of the pattern. Most patterns are searched for by a machine that
//! is made on the way and goes over each byte once; the few for which that machine would have to be made anew all
//! the time are searched for by a slower one, and then all that it may do is paid for before.

use std::sync::{Mutex, PoisonError};

use regex_automata::Input;
use regex_automata::hybrid::dfa::{self, DFA};
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::syntax;

use super::ExprError;
use crate::work::Work;

const EXTENDED: i64 = 1;
const IGNORE_CASE: i64 = 2;
const NEWLINE: i64 = 4;

/// Largest compiled form of all patterns of an expression together, in bytes.
pub(super) const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Bytes that the fast machine may take.
const MACHINE_BYTES_MAX: usize = 256 << 10;

/// Bytes of text that each of its states must be good for: with fewer it is given up.
const BYTES_PER_STATE_MIN: usize = 1000;

/// How often it may be made anew before that is looked at.
const REMAKES_MIN: usize = 2;

/// Steps that were taken for nothing when it is given up.
const STEPS_GIVEN_UP: u64 = 1_000_000;

/// Deepest nesting of groups.
const DEPTH_MAX: u32 = 100;

/// Most repetitions that the C library takes.
const REPEAT_MAX: u32 = 0x7fff;

const BAD: ExprError = ExprError::Malformed("a pattern that is no regular expression");

type Result<T> = std::result::Result<T, ExprError>;

/// A compiled pattern.
pub(super) struct Pattern {
    fast: DFA,
    slow: PikeVM,
    /// What the machines have made so far, or made room for.
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    fast: Option<Box<dfa::Cache>>,
    slow: Option<Box<pikevm::Cache>>,
}

impl Pattern {
    /// Compiles a pattern with the flags of the C library's `regcomp` into at most so many bytes.
    pub(super) fn compile(pattern: &[u8], flags: i64, bytes_max: usize) -> Result<Pattern> {
        let pattern = pattern.split(|byte| *byte == 0).next().unwrap_or_default();
        let translated = Translator::new(pattern, flags).translate()?;
        let syntax = syntax::Config::new()
            .unicode(false)
            .utf8(false)
            .case_insensitive(flags & IGNORE_CASE != 0)
            .nest_limit(DEPTH_MAX);
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(bytes_max))
            .which_captures(WhichCaptures::None);
        let nfa = NFA::compiler()
            .syntax(syntax)
            .configure(nfa)
            .build(&translated)
            .map_err(|_| BAD)?;
        let fast = DFA::builder()
            .configure(
                DFA::config()
                    .cache_capacity(MACHINE_BYTES_MAX)
                    .skip_cache_capacity_check(true)
                    .minimum_cache_clear_count(Some(REMAKES_MIN))
                    .minimum_bytes_per_state(Some(BYTES_PER_STATE_MIN)),
            )
            .build_from_nfa(nfa.clone())
            .map_err(|_| BAD)?;
        Ok(Pattern {
            fast,
            slow: PikeVM::new_from_nfa(nfa).map_err(|_| BAD)?,
            made: Mutex::default(),
        })
    }

    /// Size of the compiled form in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.slow.get_nfa().memory_usage()
    }

    /// Whether it is found in a text; `None` if that takes more work than is left.
    pub(super) fn is_match(&self, text: &[u8], work: &Work) -> Option<bool> {
        let states = self.slow.get_nfa().states().len() as u64;
        let bytes = text.len() as u64;
        work.spend(20 + bytes * (2 + states / 256)).ok()?;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let input = Input::new(text).earliest(true);
        let fast = made
            .fast
            .get_or_insert_with(|| Box::new(self.fast.create_cache()));
        if let Ok(found) = self.fast.try_search_fwd(fast, &input) {
            return Some(found.is_some());
        }
        work.spend(STEPS_GIVEN_UP + bytes * states).ok()?;
        let slow = made
            .slow
            .get_or_insert_with(|| Box::new(self.slow.create_cache()));
        Some(self.slow.is_match(slow, input))
    }
}

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pattern(..)") // a page of states says nothing
    }
}

/// What the pattern says next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Literal(u8),
    Any,
    Bracket,
    Open,
    Close,
    Or,
    Star,
    Plus,
    Question,
    Interval,
    LineStart,
    LineEnd,
    /// A class or place of GNU's, already translated.
    Gnu(&'static str, bool),
}

struct Translator<'p> {
    pattern: &'p [u8],
    at: usize,
    out: String,
    extended: bool,
    newline: bool,
    ignore_case: bool,
    /// Where in `out` the last thing begins that can be repeated.
    atom: Option<usize>,
    /// Whether that is repeated already.
    repeated: bool,
    /// Where in `out` the groups begin that are open.
    groups: Vec<usize>,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p [u8], flags: i64) -> Translator<'p> {
        Translator {
            pattern,
            at: 0,
            out: String::new(),
            extended: flags & EXTENDED != 0,
            newline: flags & NEWLINE != 0,
            ignore_case: flags & IGNORE_CASE != 0,
            atom: None,
            repeated: false,
            groups: Vec::new(),
        }
    }

    fn translate(mut self) -> Result<String> {
        while let Some(token) = self.token()? {
            match token {
                Token::Literal(byte) => self.atom(|out| put_literal(out, byte)),
                Token::Any => {
                    let any = if self.newline { r"[^\n]" } else { "(?s:.)" };
                    self.atom(|out| out.push_str(any));
                }
                Token::Bracket => {
                    let set = self.bracket()?;
                    self.atom(|out| put_set(out, &set));
                }
                Token::Open => {
                    self.groups.push(self.out.len());
                    self.out.push_str("(?:");
                    self.atom = None;
                }
                Token::Close => self.close()?,
                Token::Or => {
                    self.out.push('|');
                    self.atom = None;
                }
                Token::Star => self.repeat("*")?,
                Token::Plus => self.repeat("+")?,
                Token::Question => self.repeat("?")?,
                Token::Interval => self.interval()?,
                Token::LineStart => self.place(if self.newline { "(?m:^)" } else { r"\A" }),
                Token::LineEnd => self.place(if self.newline { "(?m:$)" } else { r"\z" }),
                Token::Gnu(text, true) => self.atom(|out| out.push_str(text)),
                Token::Gnu(text, false) => self.place(text),
            }
        }
        if self.groups.is_empty() {
            Ok(self.out)
        } else {
            Err(BAD)
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.pattern.get(self.at + ahead).copied()
    }

    /// Writes something that can be repeated.
    fn atom(&mut self, write: impl FnOnce(&mut String)) {
        self.atom = Some(self.out.len());
        self.repeated = false;
        write(&mut self.out);
    }

    /// Writes something that matches a place, and cannot be repeated.
    fn place(&mut self, text: &str) {
        self.out.push_str(text);
        self.atom = None;
    }

    fn close(&mut self) -> Result<()> {
        let begin = self.groups.pop().ok_or(BAD)?;
        self.out.push(')');
        self.atom = Some(begin);
        self.repeated = false;
        Ok(())
    }

    /// Repeats the last atom. What is repeated already is put in a group, or `a+?` would mean something else.
    fn repeat(&mut self, how: &str) -> Result<()> {
        let begin = self.atom.ok_or(BAD)?;
        if self.repeated && !self.extended && how.starts_with(['*', '{']) {
            return Err(BAD); // so is the basic syntax, for these two
        }
        if self.repeated {
            self.out.insert_str(begin, "(?:");
            self.out.push(')');
        }
        self.out.push_str(how);
        self.repeated = true;
        Ok(())
    }

    fn token(&mut self) -> Result<Option<Token>> {
        let Some(byte) = self.peek(0) else {
            return Ok(None);
        };
        self.at += 1;
        if byte == b'\\' {
            let escaped = self.peek(0).ok_or(BAD)?;
            self.at += 1;
            return self.escaped(escaped).map(Some);
        }
        let token = match byte {
            b'.' => Token::Any,
            b'[' => Token::Bracket,
            _ if self.extended => self.extended(byte),
            _ => self.basic(byte),
        };
        Ok(Some(token))
    }

    fn extended(&self, byte: u8) -> Token {
        match byte {
            b'(' => Token::Open,
            b')' if !self.groups.is_empty() => Token::Close,
            b'|' => Token::Or,
            b'*' => Token::Star,
            b'+' => Token::Plus,
            b'?' => Token::Question,
            b'{' => Token::Interval,
            b'^' => Token::LineStart,
            b'$' => Token::LineEnd,
            literal => Token::Literal(literal),
        }
    }

    /// In the basic syntax a star where nothing can be repeated is itself, and so are `^` and `$` inside.
    fn basic(&self, byte: u8) -> Token {
        match byte {
            b'*' if self.atom.is_some() => Token::Star,
            b'^' if self.begins() => Token::LineStart,
            b'$' if self.ends() => Token::LineEnd,
            literal => Token::Literal(literal),
        }
    }

    fn begins(&self) -> bool {
        self.at == 1 || matches!(self.pattern[..self.at - 1], [.., b'\\', b'(' | b'|'])
    }

    fn ends(&self) -> bool {
        matches!(self.pattern[self.at..], [] | [b'\\', b')' | b'|', ..])
    }

    fn escaped(&self, byte: u8) -> Result<Token> {
        Ok(match byte {
            b'1'..=b'9' => return Err(BAD), // references back
            b'w' => Token::Gnu(r"\w", true),
            b'W' => Token::Gnu(r"\W", true),
            b's' => Token::Gnu(r"\s", true),
            b'S' => Token::Gnu(r"\S", true),
            b'b' => Token::Gnu(r"\b", false),
            b'B' => Token::Gnu(r"\B", false),
            b'<' => Token::Gnu(r"\b{start}", false),
            b'>' => Token::Gnu(r"\b{end}", false),
            b'`' => Token::Gnu(r"\A", false),
            b'\'' => Token::Gnu(r"\z", false),
            b'(' if !self.extended => Token::Open,
            b')' if !self.extended => Token::Close,
            b'{' if !self.extended => Token::Interval,
            b'|' if !self.extended => Token::Or,
            b'+' if !self.extended && self.atom.is_some() => Token::Plus,
            b'?' if !self.extended && self.atom.is_some() => Token::Question,
            literal => Token::Literal(literal),
        })
    }

    /// `{2}`, `{2,}`, `{,3}`, `{2,3}`, the opening brace already taken.
    fn interval(&mut self) -> Result<()> {
        let least = self.count()?;
        let comma = self.peek(0) == Some(b',');
        let most = if comma {
            self.at += 1;
            self.count()?
        } else {
            least
        };
        let close: &[u8] = if self.extended { b"}" } else { b"\\}" };
        if !self.pattern[self.at..].starts_with(close) {
            return Err(BAD);
        }
        self.at += close.len();
        let how = match (least, most) {
            (None, None) if !comma => return Err(BAD),
            (least, None) => format!("{{{},}}", least.unwrap_or(0)),
            (least, Some(most)) if least.unwrap_or(0) <= most => {
                format!("{{{},{most}}}", least.unwrap_or(0))
            }
            (_, Some(_)) => return Err(BAD),
        };
        self.repeat(&how)
    }

    fn count(&mut self) -> Result<Option<u32>> {
        let mut count = None;
        while let Some(digit @ b'0'..=b'9') = self.peek(0) {
            self.at += 1;
            let next = count.unwrap_or(0) * 10 + u32::from(digit - b'0');
            count = Some(next).filter(|next| *next <= REPEAT_MAX);
            if count.is_none() {
                return Err(BAD);
            }
        }
        Ok(count)
    }

    /// The bytes that a bracket stands for, the opening one already taken.
    fn bracket(&mut self) -> Result<[bool; 256]> {
        let negated = self.peek(0) == Some(b'^');
        self.at += usize::from(negated);
        let mut set = [false; 256];
        let first = self.at;
        loop {
            match self.peek(0).ok_or(BAD)? {
                b']' if self.at > first => break,
                b'[' if self.peek(1) == Some(b':') => {
                    let class = class(self.delimited(b':')?).ok_or(BAD)?;
                    (0..=255)
                        .filter(class)
                        .for_each(|byte| set[usize::from(byte)] = true);
                    if self.peek(0) == Some(b'-') && self.peek(1).is_some_and(|next| next != b']') {
                        return Err(BAD); // a class begins no range
                    }
                }
                _ => self.range(&mut set)?,
            }
        }
        self.at += 1;
        if self.ignore_case {
            for letter in b'a'..=b'z' {
                let (lower, upper) = (
                    usize::from(letter),
                    usize::from(letter.to_ascii_uppercase()),
                );
                let either = set[lower] || set[upper];
                (set[lower], set[upper]) = (either, either);
            }
        }
        if negated {
            set.iter_mut()
                .for_each(|contained| *contained = !*contained);
            set[usize::from(b'\n')] &= !self.newline;
        }
        Ok(set)
    }

    /// One byte or two with a hyphen between.
    fn range(&mut self, set: &mut [bool; 256]) -> Result<()> {
        let from = self.bracketed()?;
        let is_range = self.peek(0) == Some(b'-') && self.peek(1).ok_or(BAD)? != b']';
        let to = if is_range {
            self.at += 1;
            self.bracketed()?
        } else {
            from
        };
        if from > to {
            return Err(BAD);
        }
        set[usize::from(from)..=usize::from(to)].fill(true);
        Ok(())
    }

    /// One byte inside a bracket: itself, `[.x.]` or `[=x=]`.
    fn bracketed(&mut self) -> Result<u8> {
        let byte = self.peek(0).ok_or(BAD)?;
        match (byte, self.peek(1)) {
            (b'[', Some(delimiter @ (b'.' | b'='))) => match self.delimited(delimiter)? {
                [only] => Ok(*only),
                _ => Err(BAD),
            },
            (b'[', Some(b':')) => Err(BAD), // a class ends no range
            _ => {
                self.at += 1;
                Ok(byte)
            }
        }
    }

    /// What lies between `[:` and `:]`, or their like.
    fn delimited(&mut self, delimiter: u8) -> Result<&'p [u8]> {
        let rest = self.pattern.get(self.at + 2..).ok_or(BAD)?;
        let end = rest
            .windows(2)
            .position(|pair| pair == [delimiter, b']'])
            .ok_or(BAD)?;
        self.at += 2 + end + 2;
        Ok(&rest[..end])
    }
}

/// The bytes of a class, by its name.
fn class(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alpha" => u8::is_ascii_alphabetic,
        b"digit" => u8::is_ascii_digit,
        b"alnum" => u8::is_ascii_alphanumeric,
        b"upper" => u8::is_ascii_uppercase,
        b"lower" => u8::is_ascii_lowercase,
        b"space" => |byte| matches!(byte, b' ' | b'\t'..=b'\r'),
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"punct" => u8::is_ascii_punctuation,
        b"print" => |byte| matches!(byte, b' '..=b'~'),
        b"graph" => u8::is_ascii_graphic,
        b"cntrl" => u8::is_ascii_control,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

fn put_literal(out: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() {
        out.push(char::from(byte));
    } else {
        out.push_str(&format!(r"\x{byte:02x}"));
    }
}

/// A class that says exactly which bytes; whether case counts was settled when it was made.
fn put_set(out: &mut String, set: &[bool; 256]) {
    out.push_str("(?-i:[");
    let mut byte = 0;
    let mut any = false;
    while byte < 256 {
        if !set[byte] {
            byte += 1;
            continue;
        }
        let length = set[byte..]
            .iter()
            .take_while(|contained| **contained)
            .count();
        out.push_str(&format!(r"\x{byte:02x}-\x{:02x}", byte + length - 1));
        any = true;
        byte += length;
    }
    if !any {
        out.push_str(r"^\x00-\xff"); // nothing at all
    }
    out.push_str("])");
}
