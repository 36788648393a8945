//! One operation written as text, carried out by the code under test.

use karst_data::cdt::{Access, Answer, CdtError, CdtOp, Evaluate, NoExpressions, Subject};
use karst_data::msgpack::Collection;
use karst_data::work::Work;

use crate::tree::{Notation, Tree};

/// Operations by the names that the tests use.
pub(crate) const CODES: [(&str, i64, Access); 78] = {
    use Access::{Modify, Read};
    [
        ("l.set_type", 0, Modify),
        ("l.append", 1, Modify),
        ("l.append_items", 2, Modify),
        ("l.insert", 3, Modify),
        ("l.insert_items", 4, Modify),
        ("l.pop", 5, Modify),
        ("l.pop_range", 6, Modify),
        ("l.remove", 7, Modify),
        ("l.remove_range", 8, Modify),
        ("l.set", 9, Modify),
        ("l.trim", 10, Modify),
        ("l.clear", 11, Modify),
        ("l.increment", 12, Modify),
        ("l.sort", 13, Modify),
        ("l.size", 16, Read),
        ("l.get", 17, Read),
        ("l.get_range", 18, Read),
        ("l.get_index", 19, Read),
        ("l.get_value", 20, Read),
        ("l.get_rank", 21, Read),
        ("l.get_all_value", 22, Read),
        ("l.get_values", 23, Read),
        ("l.get_index_range", 24, Read),
        ("l.get_interval", 25, Read),
        ("l.get_rank_range", 26, Read),
        ("l.get_near", 27, Read),
        ("l.remove_index", 32, Modify),
        ("l.remove_value", 33, Modify),
        ("l.remove_rank", 34, Modify),
        ("l.remove_all_value", 35, Modify),
        ("l.remove_values", 36, Modify),
        ("l.remove_index_range", 37, Modify),
        ("l.remove_interval", 38, Modify),
        ("l.remove_rank_range", 39, Modify),
        ("l.remove_near", 40, Modify),
        ("m.set_type", 64, Modify),
        ("m.add", 65, Modify),
        ("m.add_items", 66, Modify),
        ("m.put", 67, Modify),
        ("m.put_items", 68, Modify),
        ("m.replace", 69, Modify),
        ("m.replace_items", 70, Modify),
        ("m.increment", 73, Modify),
        ("m.decrement", 74, Modify),
        ("m.clear", 75, Modify),
        ("m.remove_key", 76, Modify),
        ("m.remove_index", 77, Modify),
        ("m.remove_value", 78, Modify),
        ("m.remove_rank", 79, Modify),
        ("m.remove_keys", 81, Modify),
        ("m.remove_all_value", 82, Modify),
        ("m.remove_values", 83, Modify),
        ("m.remove_key_interval", 84, Modify),
        ("m.remove_index_range", 85, Modify),
        ("m.remove_interval", 86, Modify),
        ("m.remove_rank_range", 87, Modify),
        ("m.remove_keys_near", 88, Modify),
        ("m.remove_near", 89, Modify),
        ("m.size", 96, Read),
        ("m.get_key", 97, Read),
        ("m.get_index", 98, Read),
        ("m.get_value", 99, Read),
        ("m.get_rank", 100, Read),
        ("m.get_all_value", 102, Read),
        ("m.get_key_interval", 103, Read),
        ("m.get_index_range", 104, Read),
        ("m.get_interval", 105, Read),
        ("m.get_rank_range", 106, Read),
        ("m.get_keys", 107, Read),
        ("m.get_values", 108, Read),
        ("m.get_keys_near", 109, Read),
        ("m.get_near", 110, Read),
        ("select", 0xfe, Read),
        ("apply", 0xfe, Modify),
        // Numbers that mean nothing.
        ("l.unknown", 14, Read),
        ("l.unknown_write", 28, Modify),
        ("m.unknown", 101, Read),
        ("m.unknown_write", 111, Modify),
    ]
};

/// The number by which clients know an error.
pub(crate) fn code_of(error: CdtError) -> u8 {
    match error {
        CdtError::NoValue | CdtError::Damaged(_) => 1,
        CdtError::Exhausted => 0, // never of unlimited work
        CdtError::Unsupported(_) => 16,
        CdtError::Parameter(_) => 4,
        CdtError::Incompatible => 12,
        CdtError::TooBig => 13,
        CdtError::ElementNotFound => 23,
        CdtError::ElementExists => 24,
        CdtError::NotApplicable(_) => 26,
    }
}

/// `name arguments`, or `in [path] name arguments`, as a client packs it.
pub(crate) fn packed(text: &str) -> (Vec<u8>, Access) {
    let (path, call) = match text.strip_prefix("in ") {
        Some(rest) => {
            let end = rest
                .find("] l.")
                .or(rest.find("] m."))
                .expect("a path and a call");
            (Some(Notation::one(&rest[..=end])), rest[end + 1..].trim())
        }
        None => (None, text),
    };
    let (name, arguments) = call.split_once(' ').unwrap_or((call, ""));
    let known = CODES.iter().find(|(known, ..)| *known == name);
    let (_, code, access) = known.unwrap_or_else(|| panic!("no operation {name}"));
    let mut items = vec![Tree::Int(*code)];
    items.extend(Notation::all(arguments));
    let call = Tree::list(items);
    let whole = match path {
        Some(path) => Tree::list(vec![Tree::Int(0xff), path, call]),
        None => call,
    };
    (whole.packed(), *access)
}

/// The answer as a tree; `None` for nothing.
pub(crate) fn answer_tree(answer: Answer<'_>) -> Option<Tree> {
    Some(match answer {
        Answer::Nothing => return None,
        Answer::Int(value) => Tree::Int(value),
        Answer::Double(value) => Tree::Float(value),
        Answer::Bool(value) => Tree::Bool(value),
        Answer::Element(packed) => Tree::unpacked(packed),
        Answer::List(packed) | Answer::Map(packed) => Tree::unpacked(&packed),
    })
}

/// As much work as was done, and half of it.
fn enough_and_less(done: &Work) -> [Work; 2] {
    [done.spent(), done.spent() / 2].map(Work::new)
}

/// What comes of an operation that had this for it: the same, or that it is too little.
fn if_there_was<T: Clone>(work: &Work, outcome: &Result<T, CdtError>) -> Result<T, CdtError> {
    match work.is_exhausted() {
        true => Err(CdtError::Exhausted),
        false => outcome.clone(),
    }
}

/// What came of an operation: what there is then, and what is told; or an error.
pub(crate) type Outcome = Result<(Option<Tree>, Option<Tree>), u8>;

/// Carries an operation out on a value, or on none.
pub(crate) fn run(
    before: Option<&Tree>,
    payload: &[u8],
    access: Access,
    expressions: &mut dyn Evaluate,
) -> Outcome {
    let op = CdtOp::parse(payload, access).map_err(code_of)?;
    let bytes = before.map(Tree::packed);
    let subject = match (before, &bytes) {
        (Some(Tree::List { .. }), Some(bytes)) => Subject::List(bytes),
        (Some(Tree::Map { .. }), Some(bytes)) => Subject::Map(bytes),
        (Some(_), _) => Subject::Other,
        (None, _) => Subject::Missing,
    };
    let work = Work::unlimited();
    if access == Access::Read {
        let answer = op.read(subject, expressions, &work);
        for work in enough_and_less(&work) {
            let again = op.read(subject, expressions, &work);
            assert_eq!(again, if_there_was(&work, &answer), "with less work");
        }
        return Ok((before.cloned(), answer_tree(answer.map_err(code_of)?)));
    }
    let modified = op.modify(subject, expressions, &work);
    for work in enough_and_less(&work) {
        let again = op.modify(subject, expressions, &work);
        assert_eq!(again, if_there_was(&work, &modified), "with less work");
    }
    let modified = modified.map_err(code_of)?;
    let after = match modified.value {
        None => before.cloned(),
        Some((kind, packed)) => {
            let tree = Tree::unpacked(&packed);
            let is_list = matches!(tree, Tree::List { .. });
            assert_eq!(is_list, kind == Collection::List);
            assert_eq!(tree.packed(), packed, "what is stored is canonical: {tree}");
            Some(tree)
        }
    };
    Ok((after, answer_tree(modified.answer)))
}

fn show(tree: Option<&Tree>) -> String {
    tree.map_or("-".to_owned(), Tree::to_string)
}

fn value_of(text: &str) -> Option<Tree> {
    (text != "-").then(|| Notation::one(text))
}

fn run_text(before: &str, operation: &str) -> Outcome {
    let (payload, access) = packed(operation);
    run(
        value_of(before).as_ref(),
        &payload,
        access,
        &mut NoExpressions,
    )
}

/// Checks what an operation reads: a value, `-` for nothing, `!26` for an error.
#[track_caller]
pub(crate) fn reads(value: &str, operation: &str, told: &str) {
    let found = match run_text(value, operation) {
        Ok((_, answer)) => show(answer.as_ref()),
        Err(code) => format!("!{code}"),
    };
    assert_eq!(found, told, "{operation} of {value}");
}

/// Checks what an operation makes of a value and what it tells: `after / told`, or `!26` for an error.
#[track_caller]
pub(crate) fn makes(before: &str, operation: &str, outcome: &str) {
    let found = match run_text(before, operation) {
        Ok((after, answer)) => format!("{} / {}", show(after.as_ref()), show(answer.as_ref())),
        Err(code) => format!("!{code}"),
    };
    assert_eq!(found, outcome, "{operation} on {before}");
}
