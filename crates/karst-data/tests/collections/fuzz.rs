//! Random operations, on the code under test and on the model: both must do and tell the same.
//!
//! `KARST_STEPS` is how many operations are tried, `KARST_SEED` where they begin. A difference is
//! printed with the seed of its own sequence, value and operation.

use std::collections::BTreeMap;

use karst_data::cdt::Access;

use crate::model::{self, canonical, is_map_key};
use crate::run::{CODES, Outcome, run};
use crate::stand::Stand;
use crate::tree::Tree;

/// Operations on one value before another one is begun.
const SEQUENCE: u64 = 40;

const STEPS: u64 = 30_000;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit
    }

    /// One time in so many.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize].clone()
    }

    fn scalar(&mut self) -> Tree {
        match self.below(10) {
            0 => Tree::Nil,
            1 => Tree::Bool(self.once_in(2)),
            2 => Tree::Float(self.one_of(&[-1.5, 0.0, 1.0, 2.5])),
            3 => Tree::text(self.one_of(&["", "a", "b", "ab"])),
            4 => Tree::Blob(self.one_of(&[vec![], vec![1], vec![3, 97]])),
            5 => Tree::Int(self.one_of(&[
                -129,
                -33,
                127,
                128,
                256,
                70_000,
                1 << 40,
                i64::MIN,
                i64::MAX,
            ])),
            _ => Tree::Int(self.below(6) as i64 - 1),
        }
    }

    fn key(&mut self) -> Tree {
        loop {
            let key = self.scalar();
            if is_map_key(&key) {
                return key;
            }
        }
    }

    fn items(&mut self, depth: u32, wild: bool) -> Vec<Tree> {
        let count = if self.once_in(20) { 20 } else { self.below(8) };
        (0..count).map(|_| self.value(depth, wild)).collect()
    }

    fn list(&mut self, depth: u32, wild: bool) -> Tree {
        let items = self.items(depth, wild);
        if self.once_in(3) {
            return self.ordered(items);
        }
        Tree::list(items)
    }

    /// An ordered list, now and then wrongly so.
    fn ordered(&mut self, items: Vec<Tree>) -> Tree {
        let mut list = Tree::list(items);
        let sorts = !self.once_in(20);
        if let Tree::List { ordered, items } = &mut list {
            let whole = items.clone();
            items.clear();
            for item in whole {
                let fits = |at: usize| {
                    let mut all = items.clone();
                    all.insert(at, item.clone());
                    canonical(
                        &Tree::List {
                            ordered: true,
                            items: all,
                        },
                        true,
                    )
                    .is_some()
                };
                let at = (0..=items.len()).find(|at| fits(*at)).filter(|_| sorts);
                items.insert(at.unwrap_or(items.len()), item);
            }
            *ordered = true;
        }
        list
    }

    fn map(&mut self, depth: u32, wild: bool) -> Tree {
        let count = if self.once_in(20) { 20 } else { self.below(6) };
        let mut pairs: Vec<(Tree, Tree)> = Vec::new();
        for _ in 0..count {
            let key = if self.once_in(60) {
                self.scalar()
            } else {
                self.key()
            };
            if self.once_in(40) || !pairs.iter().any(|(other, _)| *other == key) {
                pairs.push((key, self.value(depth, wild)));
            }
        }
        let flags = self.one_of(&[0, 0, 1, 3]);
        let map = Tree::Map { flags: 0, pairs };
        match canonical(&map, false) {
            Some(Tree::Map { pairs, .. }) if flags != 0 && !self.once_in(20) => {
                Tree::Map { flags, pairs }
            }
            _ => map,
        }
    }

    /// Any element; with `wild`, one to look for.
    fn value(&mut self, depth: u32, wild: bool) -> Tree {
        match self.below(12) {
            0 if wild => Tree::Wild,
            1 if wild => Tree::Infinity,
            2 | 3 if depth > 0 => self.list(depth - 1, wild),
            4 if depth > 0 => self.map(depth - 1, wild),
            _ => self.scalar(),
        }
    }

    /// A value to work on: canonical.
    pub(crate) fn subject(&mut self) -> Option<Tree> {
        let value = match self.below(30) {
            0 => return None,
            1 => return Some(self.scalar()),
            at if at < 16 => self.list(2, false),
            _ => self.map(2, false),
        };
        canonical(&value, true).or(Some(Tree::list(Vec::new())))
    }

    fn index(&mut self) -> Tree {
        Tree::Int(match self.below(40) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => 1 << 31,
            3..=13 => self.below(14) as i64 - 6,
            _ => self.below(4) as i64 - 1,
        })
    }

    fn count(&mut self) -> Tree {
        Tree::Int(match self.below(30) {
            0 => -1,
            1 => i64::MAX,
            _ => self.below(8) as i64,
        })
    }

    /// Mostly one that goes with the operation.
    fn return_type(&mut self, code: i64) -> Tree {
        let single = matches!(code, 19..=21 | 32..=34 | 76..=79 | 97..=100);
        let kind = match self.below(20) {
            0 => self.one_of(&[14, 15, 18, 99]),
            1 | 2 => self.one_of(&[6, 8, 9, 10, 11, 12, 16, 17]),
            3 | 4 if code >= 64 => self.one_of(&[3, 4]),
            5 => self.one_of(&[9, 10]),
            6 => self.one_of(&[11, 12]),
            _ if code < 64 => self.one_of(&[0, 1, 2, 3, 4, 5, 7, 7, 13]),
            _ => self.one_of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 17]),
        };
        let inverts = self.once_in(if single { 20 } else { 3 });
        Tree::Int(kind + if inverts { 0x10000 } else { 0 })
    }

    /// Something that is there, or nearly, or anything.
    fn wanted(&mut self, subject: Option<&Tree>) -> Tree {
        let among = |items: &mut Vec<Tree>| match subject {
            Some(Tree::List { items: all, .. }) => items.extend(all.iter().cloned()),
            Some(Tree::Map { pairs, .. }) => {
                items.extend(
                    pairs
                        .iter()
                        .flat_map(|(key, value)| [key.clone(), value.clone()]),
                );
            }
            _ => {}
        };
        let mut items = Vec::new();
        among(&mut items);
        if items.is_empty() || self.once_in(2) {
            return self.value(2, true);
        }
        let found = self.one_of(&items);
        match found {
            Tree::List { items, .. } if self.once_in(3) => {
                let keep = self.below(items.len() as u64 + 1) as usize;
                let mut some = items[..keep].to_vec();
                some.push(self.one_of(&[Tree::Wild, Tree::Infinity, Tree::Nil]));
                Tree::list(some)
            }
            found => found,
        }
    }

    fn wanted_list(&mut self, subject: Option<&Tree>) -> Tree {
        let count = if self.once_in(8) { 15 } else { self.below(5) };
        Tree::list((0..count).map(|_| self.wanted(subject)).collect())
    }

    fn flags(&mut self) -> Tree {
        Tree::Int(self.below(16) as i64)
    }

    fn order(&mut self) -> Tree {
        Tree::Int(self.one_of(&[0, 0, 1, 1, 2, 3, 0x10, 0x11, 0x13, 99]))
    }

    fn delta(&mut self) -> Tree {
        match self.below(8) {
            0 => Tree::Nil,
            1 => self.scalar(),
            2 => Tree::Float(self.one_of(&[-1.5, 0.5, 2.0])),
            _ => Tree::Int(self.below(6) as i64 - 3),
        }
    }

    fn put_value(&mut self, subject: Option<&Tree>) -> Tree {
        match self.below(4) {
            0 => self.wanted(subject),
            _ => self.value(2, false),
        }
    }

    /// Fitting arguments for an operation.
    fn arguments(&mut self, code: i64, subject: Option<&Tree>) -> Vec<Tree> {
        match code {
            0 | 64 => vec![Tree::Int(self.one_of(&[0, 1, 3, 2, 0x10, 0x11, 0x13, 4]))],
            1 => vec![self.put_value(subject), self.order(), self.flags()],
            2 => vec![self.list(1, false), self.order(), self.flags()],
            3 | 9 => vec![self.index(), self.put_value(subject), self.flags()],
            4 => vec![self.index(), self.list(1, false), self.flags()],
            5 | 7 | 17 => vec![self.index()],
            6 | 8 | 10 | 18 => vec![self.index(), self.count()],
            12 => vec![self.index(), self.delta(), self.order(), self.flags()],
            13 => vec![Tree::Int(self.below(4) as i64)],
            19 | 21 | 32 | 34 | 77 | 79 | 98 | 100 => vec![self.return_type(code), self.index()],
            20 | 22 | 33 | 35 | 76 | 78 | 82 | 97 | 99 | 102 => {
                vec![self.return_type(code), self.wanted(subject)]
            }
            23 | 36 | 81 | 83 | 107 | 108 => {
                vec![self.return_type(code), self.wanted_list(subject)]
            }
            24 | 26 | 37 | 39 | 85 | 87 | 104 | 106 => {
                vec![self.return_type(code), self.index(), self.count()]
            }
            25 | 38 | 84 | 86 | 103 | 105 => {
                vec![
                    self.return_type(code),
                    self.wanted(subject),
                    self.wanted(subject),
                ]
            }
            27 | 40 | 88 | 89 | 109 | 110 => {
                vec![
                    self.return_type(code),
                    self.wanted(subject),
                    self.index(),
                    self.count(),
                ]
            }
            65 | 69 => vec![
                self.key_argument(subject),
                self.put_value(subject),
                self.order(),
            ],
            67 => {
                let (key, value) = (self.key_argument(subject), self.put_value(subject));
                vec![key, value, self.order(), self.flags()]
            }
            66 | 70 => vec![self.map(1, false), self.order()],
            68 => vec![self.map(1, false), self.order(), self.flags()],
            73 | 74 => vec![self.key_argument(subject), self.delta(), self.order()],
            0xfe => vec![
                self.levels(subject),
                Tree::Int(self.one_of(&[0, 1, 2, 3, 0x11, 0x12, 0x13])),
            ],
            _ => Vec::new(),
        }
    }

    fn key_argument(&mut self, subject: Option<&Tree>) -> Tree {
        if self.once_in(2) {
            return self.key();
        }
        self.wanted(subject)
    }

    /// How many arguments an operation needs.
    fn cut(&mut self, code: i64, arguments: &mut Vec<Tree>) {
        let least = match code {
            1 | 2 | 6 | 8 | 12 | 18 | 66 | 68 | 73 | 74 => 1,
            13 => 0,
            3 | 4 | 9 | 24 | 25 | 26 | 37 | 38 | 39 | 65 | 67 | 84..=87 | 103..=106 => 2,
            27 | 40 | 88 | 89 | 109 | 110 => 3,
            69 => {
                arguments.truncate(2);
                2
            }
            70 => {
                arguments.truncate(1);
                1
            }
            _ => arguments.len(),
        };
        let optional = (arguments.len() - least.min(arguments.len())) as u64;
        let kept = arguments.len() - self.below(optional + 1) as usize;
        arguments.truncate(kept);
        if self.once_in(50) {
            arguments.pop(); // too few, perhaps
        }
        if self.once_in(50) {
            arguments.push(Tree::Nil); // too many, perhaps
        }
        if self.once_in(30) && !arguments.is_empty() {
            let at = self.below(arguments.len() as u64) as usize;
            arguments[at] = self.value(1, true); // of another kind
        }
    }

    /// A path into the value, to a collection if there is one, with a step or two beyond it at times.
    fn path(&mut self, subject: Option<&Tree>) -> Tree {
        let mut steps = Vec::new();
        let mut target = subject.cloned();
        for depth in 0..3 {
            let created = self.one_of(&[0, 0, 0x40, 0x80, 0xc0]);
            let with_index = if self.once_in(12) { 0x100 } else { 0 };
            let (id, wanted, next) = match &target {
                Some(Tree::List { items, .. }) if !self.once_in(15) => {
                    let inner = (0..items.len()).find(|at| is_collection(&items[*at]));
                    let at = match inner {
                        Some(at) if !self.once_in(3) => at as i64,
                        _ => self.below(items.len() as u64 + 3) as i64 - 1,
                    };
                    let next = usize::try_from(at)
                        .ok()
                        .and_then(|at| items.get(at))
                        .cloned();
                    match (self.below(5), &next) {
                        (0, Some(next)) => (0x13, next.clone(), Some(next.clone())),
                        (1, _) => (self.one_of(&[0x11, 0x01]), Tree::Int(at), None),
                        _ => (self.one_of(&[0x10, 0x10, 0x00]), Tree::Int(at), next),
                    }
                }
                Some(Tree::Map { pairs, .. }) if !self.once_in(15) => {
                    let inner = (0..pairs.len()).find(|at| is_collection(&pairs[*at].1));
                    let at = match inner {
                        Some(at) if !self.once_in(3) => at,
                        _ => self.below(pairs.len() as u64 + 1) as usize,
                    };
                    let found = pairs.get(at).cloned();
                    match (self.below(6), found) {
                        (0, Some((_, value))) => (0x23, value.clone(), Some(value)),
                        (1, _) => (0x21, Tree::Int(at as i64), None),
                        (2, found) => (0x20, Tree::Int(at as i64), found.map(|(_, value)| value)),
                        (_, Some((key, value))) => {
                            (self.one_of(&[0x22, 0x22, 0x02]), key, Some(value))
                        }
                        (_, None) => (0x22, self.key_argument(subject), None),
                    }
                }
                _ => match self.below(3) {
                    0 => (0x10, Tree::Int(self.below(4) as i64 - 1), None),
                    1 => (0x22, self.key(), None),
                    _ => (self.below(0x30) as i64, self.value(0, true), None),
                },
            };
            steps.extend([Tree::Int(id | created | with_index), wanted]);
            target = next;
            if depth > 0 && self.once_in(2) || self.once_in(2) {
                break;
            }
        }
        if self.once_in(60) {
            steps.pop();
        }
        Tree::list(steps)
    }

    fn condition(&mut self) -> Tree {
        match self.below(6) {
            0..=2 => Tree::Bool(true),
            3 => Tree::list(vec![Tree::text("key"), self.key()]),
            4 => Tree::list(vec![Tree::text("index"), Tree::Int(self.below(3) as i64)]),
            _ => Tree::list(vec![Tree::text(">"), Tree::Int(self.below(4) as i64)]),
        }
    }

    fn levels(&mut self, subject: Option<&Tree>) -> Tree {
        let mut levels = Vec::new();
        let count = self.one_of(&[1, 1, 1, 2, 2, 3]);
        for _ in 0..count {
            let (id, wanted) = match self.below(10) {
                0 => (0, self.index()),
                1 => (1, self.index()),
                2 => (2, self.key()),
                3 => (3, self.wanted(subject)),
                4 => (10, self.wanted_list(subject)),
                _ => (4, self.condition()),
            };
            let kind = self.one_of(&[0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0x20]);
            levels.extend([Tree::Int(id | kind), wanted]);
            if self.once_in(8) {
                levels.extend([Tree::Int(0x204), self.condition()]);
            }
        }
        if self.once_in(40) {
            levels.pop();
        }
        Tree::list(levels)
    }

    fn change(&mut self) -> Tree {
        match self.below(8) {
            0 => Tree::list(vec![Tree::text("wild")]),
            1 | 2 => Tree::list(vec![Tree::text("drop")]),
            _ => Tree::list(vec![Tree::text("add"), Tree::Int(self.below(5) as i64 - 2)]),
        }
    }
}

fn is_collection(tree: &Tree) -> bool {
    matches!(tree, Tree::List { .. } | Tree::Map { .. })
}

/// Packs with widths that nobody would choose, and flags that mean nothing, at times.
fn packed_loosely(tree: &Tree, dice: &mut Dice, out: &mut Vec<u8>) {
    match tree {
        Tree::Int(value) if dice.once_in(4) => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
        Tree::Text(text) if dice.once_in(4) => {
            out.extend([0xc5, 0, text.len() as u8 + 1, 3]);
            out.extend(text.as_bytes());
        }
        Tree::List { ordered, items } if items.len() < 100 => {
            let flags = u8::from(*ordered) | if dice.once_in(4) { 0x10 } else { 0 };
            let flagged = flags != 0 || dice.once_in(6);
            out.extend([0xdc, 0, items.len() as u8 + u8::from(flagged)]);
            if flagged {
                out.extend([0xc7, 2, flags, 9, 9]);
            }
            items
                .iter()
                .for_each(|item| packed_loosely(item, dice, out));
        }
        Tree::Map { flags, pairs } if pairs.len() < 100 => {
            let flags = *flags | if dice.once_in(4) { 0x10 } else { 0 };
            let flagged = flags != 0 || dice.once_in(6);
            out.extend([0xde, 0, pairs.len() as u8 + u8::from(flagged)]);
            if flagged {
                out.extend([0xc8, 0, 1, flags, 9, 0xc0]);
            }
            for (key, value) in pairs {
                packed_loosely(key, dice, out);
                packed_loosely(value, dice, out);
            }
        }
        other => out.extend(other.packed()),
    }
}

/// A whole operation, as it is packed.
fn payload(code: i64, arguments: &[Tree], path: Option<&Tree>, dice: &mut Dice) -> Vec<u8> {
    let loosely = dice.once_in(3);
    let mut items = vec![Tree::Int(code)];
    items.extend(arguments.iter().cloned());
    // Expressions are looked at as they are: only what is read by the parser is packed loosely.
    let call = |dice: &mut Dice| {
        let mut out = Vec::new();
        if loosely && code != 0xfe {
            out.extend([0xdc, 0, items.len() as u8]);
            items
                .iter()
                .for_each(|item| packed_loosely(item, dice, &mut out));
        } else {
            out = Tree::list(items.clone()).packed();
        }
        out
    };
    let Some(path) = path else {
        return call(dice);
    };
    let mut out = vec![0x93, 0xcc, 0xff];
    out.extend(path.packed());
    out.extend(call(dice));
    out
}

fn show(outcome: &Outcome) -> String {
    let shown = |tree: &Option<Tree>| tree.as_ref().map_or("-".to_owned(), Tree::to_string);
    match outcome {
        Ok((after, told)) => format!("{} / {}", shown(after), shown(told)),
        Err(code) => format!("!{code}"),
    }
}

/// A step's operation.
pub(crate) fn step(
    dice: &mut Dice,
    subject: Option<&Tree>,
) -> (&'static str, Access, Vec<Tree>, Option<Tree>) {
    let of_lists = match subject {
        Some(Tree::List { .. }) => !dice.once_in(12),
        Some(Tree::Map { .. }) => dice.once_in(12),
        _ => dice.once_in(2),
    };
    let path = dice.once_in(3).then(|| dice.path(subject));
    loop {
        let (name, code, access) = dice.one_of(&CODES);
        let fits = (code < 64) == of_lists || path.is_some() || code == 0xfe;
        if !fits || (code == 0xfe && path.is_some() && !dice.once_in(10)) {
            continue;
        }
        let mut arguments = dice.arguments(code, subject);
        if code == 0xfe && access == Access::Modify {
            arguments[1] = Tree::Int(dice.one_of(&[4, 0x14, 0x14]));
            arguments.push(dice.change());
        }
        dice.cut(code, &mut arguments);
        let access = match (dice.once_in(100), access) {
            (false, access) => access,
            (true, Access::Read) => Access::Modify,
            (true, Access::Modify) => Access::Read,
        };
        return (name, access, arguments, path);
    }
}

/// Whether a value has grown beyond what the model takes its time for.
fn is_large(tree: Option<&Tree>) -> bool {
    tree.is_some_and(|tree| tree.packed().len() > 600)
}

/// How often each operation was carried out, and how often it changed or told something.
type Seen = BTreeMap<&'static str, (u64, u64)>;

/// Whether there is little left to select from.
fn is_small(tree: Option<&Tree>) -> bool {
    tree.is_none_or(|tree| tree.packed().len() < 4)
}

fn sequence(seed: u64, seen: &mut Seen) {
    let mut dice = Dice(seed);
    let mut subject = dice.subject();
    for number in 0..SEQUENCE {
        let (name, access, arguments, path) = step(&mut dice, subject.as_ref());
        let code = CODES
            .iter()
            .find(|(known, ..)| *known == name)
            .expect("a code")
            .1;
        let packed = payload(code, &arguments, path.as_ref(), &mut dice);
        let found = run(subject.as_ref(), &packed, access, &mut Stand);
        let reads = access == Access::Read;
        let expected = model::run(subject.as_ref(), path.as_ref(), code, &arguments, reads);
        assert!(
            found == expected,
            "KARST_SEED={seed} step {number}: {} in {} {name} {}\n found {}\n model {}",
            subject.as_ref().map_or("-".to_owned(), Tree::to_string),
            path.as_ref().map_or("-".to_owned(), Tree::to_string),
            Tree::list(arguments),
            show(&found),
            show(&expected),
        );
        let counts = seen.entry(name).or_default();
        counts.0 += 1;
        if let Ok((after, told)) = found {
            counts.1 += u64::from(told.is_some() || after != subject);
            subject = after;
        }
        if is_large(subject.as_ref()) || is_small(subject.as_ref()) && dice.once_in(2) {
            subject = dice.subject();
        }
    }
}

pub(crate) fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is {text:?}, a number was expected")),
    )
}

#[test]
fn random_operations_do_what_the_model_does() {
    let steps = from_environment("KARST_STEPS").unwrap_or(STEPS);
    let first = from_environment("KARST_SEED").unwrap_or(1);
    let mut seen = Seen::new();
    for seed in first..first + steps.div_ceil(SEQUENCE) {
        sequence(seed, &mut seen);
    }
    println!("{steps} steps from seed {first} on: {seen:?}");
    for (name, _, _) in CODES.iter().filter(|(name, ..)| !name.contains("unknown")) {
        let (tried, done) = seen.get(name).copied().unwrap_or_default();
        assert!(
            steps < STEPS || done > tried / 20,
            "{name} did something {done} times of {tried}: the fuzz says little about it"
        );
    }
}
