//! The same random operations as calls inside expressions, on the code under test and on the model.
//!
//! A call gives what the operation tells, or what it makes of the value if it changes it; what it refuses is unknown,
//! and so is what is of another type than was said. Arguments are literals, or expressions that compute them. What is
//! asked of elements on a path is a real expression here; the model goes on to see the stand-in that it was made of.
//!
//! `KARST_STEPS` and `KARST_SEED` as for [`crate::fuzz`].

use std::borrow::Cow;

use karst_data::bin::Bins;
use karst_data::cdt::Access;
use karst_data::expr::{Datum, Expr, Metadata, Type};
use karst_data::key::Digest;
use karst_data::msgpack::write_list_count;
use karst_data::time::Now;
use karst_data::value::{ParticleType, Value};
use karst_data::work::Work;

use crate::fuzz::{Dice, from_environment, step};
use crate::model;
use crate::run::CODES;
use crate::tree::Tree;

const STEPS: u64 = 20_000;

const SELECT: i64 = 0xfe;

/// A packed list of what is packed already.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write_list_count(&mut out, items.len() as u32);
    out.extend(items.concat());
    out
}

fn int(value: i64) -> Vec<u8> {
    Tree::Int(value).packed()
}

/// A name, which has no type byte.
fn name(text: &str) -> Vec<u8> {
    [&[0xa0 | text.len() as u8][..], text.as_bytes()].concat()
}

/// An argument: a literal, or an expression that computes it. Arrays would be expressions, so lists are quoted.
fn argument(tree: &Tree, dice: &mut Dice) -> Vec<u8> {
    let computed = dice.once_in(3);
    match tree {
        Tree::List { .. } => {
            let quoted = list(&[int(126), tree.packed()]);
            match computed {
                true => list(&[int(123), vec![0xc3], quoted.clone(), quoted]),
                false => quoted,
            }
        }
        Tree::Int(value) if computed => list(&[int(20), int(*value), int(0)]),
        literal => literal.packed(),
    }
}

/// The expression that a stand-in stands for; `None` for those that no expression can be like.
fn real(stand_in: &Tree) -> Option<Vec<u8>> {
    let Tree::List { items, .. } = stand_in else {
        return Some(stand_in.packed());
    };
    let element = || list(&[int(122), int(2), int(1)]);
    match items.as_slice() {
        [Tree::Text(what), Tree::Int(than)] if what == ">" => {
            Some(list(&[int(3), element(), int(*than)]))
        }
        [Tree::Text(what), Tree::Int(more)] if what == "add" => {
            Some(list(&[int(20), element(), int(*more)]))
        }
        [Tree::Text(what)] if what == "drop" => Some(list(&[int(100)])),
        _ => None,
    }
}

/// A selection by a path with real expressions.
fn selection(arguments: &[Tree]) -> Option<Vec<u8>> {
    let [
        Tree::List {
            items,
            ordered: false,
        },
        rest @ ..,
    ] = arguments
    else {
        return None;
    };
    let mut levels = Vec::new();
    for level in items.chunks(2) {
        let [id, wanted] = level else { return None };
        let asks = matches!(id, Tree::Int(id) if id & !0x30 == 4 || *id == 0x204);
        levels.push(id.packed());
        levels.push(if asks { real(wanted)? } else { wanted.packed() });
    }
    let mut call = vec![int(SELECT), list(&levels)];
    match rest {
        [flags] => call.push(flags.packed()),
        // Anything else makes nothing of a value here, and as an expression it is one itself.
        [flags, change @ Tree::List { .. }] => call.extend([flags.packed(), real(change)?]),
        _ => return None,
    }
    Some(list(&call))
}

fn kind_of(tree: &Tree) -> Option<Type> {
    Some(match tree {
        Tree::Nil => Type::Nil,
        Tree::Bool(_) => Type::Bool,
        Tree::Int(_) => Type::Int,
        Tree::Float(_) => Type::Float,
        Tree::Text(_) => Type::String,
        Tree::Blob(_) => Type::Blob,
        Tree::List { .. } => Type::List,
        Tree::Map { .. } => Type::Map,
        Tree::Wild | Tree::Infinity => return None,
    })
}

fn tree_of(datum: &Datum<'_>) -> Option<Tree> {
    Some(match datum {
        Datum::Unknown | Datum::Remove => return None,
        Datum::Nil => Tree::Nil,
        Datum::Bool(value) => Tree::Bool(*value),
        Datum::Int(value) => Tree::Int(*value),
        Datum::Float(value) => Tree::Float(*value),
        Datum::Bytes(Type::String, text) => Tree::text(std::str::from_utf8(text).expect("a text")),
        Datum::Bytes(Type::List | Type::Map, packed) => Tree::unpacked(packed),
        Datum::Bytes(_, bytes) => Tree::Blob(bytes.to_vec()),
    })
}

/// A bin with this value.
fn bins(value: &Tree) -> Option<Bins<'static>> {
    let packed = value.packed();
    let (particle, bytes) = match value {
        Tree::List { .. } => (ParticleType::List, packed),
        Tree::Map { .. } => (ParticleType::Map, packed),
        Tree::Int(value) => (ParticleType::Integer, value.to_be_bytes().to_vec()),
        _ => return None,
    };
    let mut bins = Bins::default();
    let bytes = Cow::Owned(bytes);
    bins.set(b"v", Value { particle, bytes });
    Some(bins)
}

/// What a call is expected to give; `None` for unknown.
fn expected(
    subject: Option<&Tree>,
    (path, code, arguments): (Option<&Tree>, i64, &[Tree]),
    reads: bool,
) -> Option<Tree> {
    if matches!(subject, Some(subject) if !matches!(subject, Tree::List { .. } | Tree::Map { .. }))
    {
        return None;
    }
    if reads && subject.is_none() {
        return None;
    }
    let (after, told) = model::run(subject, path, code, arguments, reads).ok()?;
    Some(if reads { told } else { after }.unwrap_or(Tree::Nil))
}

/// One operation as a call. What came of it, unless it cannot be one.
fn call(dice: &mut Dice, subject: Option<&Tree>) -> Option<bool> {
    let (known, access, arguments, path) = step(dice, subject);
    let (_, code, of) = *CODES.iter().find(|(it, ..)| *it == known)?;
    if known.contains("unknown") || of != access {
        return None; // such calls are refused when the expression is parsed
    }
    let op = match &path {
        _ if code == SELECT && path.is_some() => return None,
        _ if code == SELECT => selection(&arguments)?,
        path => {
            let mut op = vec![int(code)];
            op.extend(arguments.iter().map(|it| argument(it, dice)));
            match path {
                Some(path) => list(&[int(0xff), path.packed(), list(&op)]),
                None => list(&op),
            }
        }
    };
    let reads = access == Access::Read;
    let computed = expected(subject, (path.as_ref(), code, &arguments), reads);
    let computed_kind = computed.as_ref().and_then(kind_of);
    let kind = match computed_kind {
        Some(kind) if !dice.once_in(10) => kind,
        _ => dice.one_of(&[Type::Nil, Type::Bool, Type::Int, Type::List, Type::Map]),
    };
    let expected = computed.filter(|_| computed_kind == Some(kind));
    let target = match subject {
        None => vec![0xc0],
        Some(Tree::Map { .. }) => list(&[int(81), int(5), name("v")]),
        Some(_) => list(&[int(81), int(4), name("v")]),
    };
    let system = if reads { 0 } else { 0x40 };
    let packed = list(&[int(127), int(kind as i64), int(system), op, target]);
    // Of a path that means nothing the expressions are not even looked for; others are parsed now.
    let expr = match Expr::parse(&packed) {
        Ok(expr) => expr,
        Err(error) => {
            assert_eq!(code, SELECT, "{error}: {packed:02x?}");
            return None;
        }
    };
    let bins = match subject {
        Some(subject) => bins(subject)?,
        None => Bins::default(),
    };
    let metadata = Metadata {
        digest: Digest([1; 20]),
        set: b"",
        stores_key: false,
        tombstone: false,
        void_time_s: 0,
        update_time_ms: 0,
        size_bytes: 0,
        in_memory: true,
        now: Now::from_epoch_ms(0),
    };
    let record = (metadata, None, &bins);
    let work = Work::unlimited();
    let found = tree_of(&expr.evaluate(&record, &work));
    let show = |tree: &Option<Tree>| tree.as_ref().map_or("unknown".to_owned(), Tree::to_string);
    assert!(
        found == expected,
        "{} of {}: {known} {} in {}\n found {}\n model {}\n {packed:02x?}",
        kind as u8,
        show(&subject.cloned()),
        Tree::list(arguments),
        show(&path),
        show(&found),
        show(&expected),
    );
    let (enough, less) = (Work::new(work.spent()), Work::new(work.spent() / 2));
    assert_eq!(tree_of(&expr.evaluate(&record, &enough)), found);
    assert!(!enough.is_exhausted());
    let _ = expr.evaluate(&record, &less);
    assert!(less.is_exhausted(), "half of the work was enough");
    Some(expected.is_some())
}

#[test]
fn calls_in_expressions_give_what_the_model_does() {
    let steps = from_environment("KARST_STEPS").unwrap_or(STEPS);
    let first = from_environment("KARST_SEED").unwrap_or(1);
    let (mut compared, mut known) = (0, 0);
    for seed in first..first + steps {
        let mut dice = Dice(seed);
        let subject = dice.subject();
        println!("KARST_SEED={seed}");
        if let Some(is_known) = call(&mut dice, subject.as_ref()) {
            compared += 1;
            known += u64::from(is_known);
        }
    }
    assert!(steps < STEPS || compared > steps / 2, "{compared} compared");
    assert!(
        steps < STEPS || known > compared / 4,
        "{known} known of {compared}"
    );
}
