use super::*;
use crate::cdt::Access;

pub(super) fn int(value: i64) -> Value<'static> {
    Value::integer(value)
}

fn text(value: &'static str) -> Value<'static> {
    Value {
        particle: ParticleType::String,
        bytes: Cow::Borrowed(value.as_bytes()),
    }
}

fn blob(value: &'static [u8]) -> Value<'static> {
    Value {
        particle: ParticleType::Blob,
        bytes: Cow::Borrowed(value),
    }
}

fn run<'a>(
    before: &[(&'static str, Value<'static>)],
    operations: &[Operation<'a>],
    respond_all: bool,
) -> Result<Applied<'a>, OperationError>
where
    'static: 'a,
{
    let mut bins = Bins::default();
    for (name, value) in before {
        bins.set(name.as_bytes(), value.clone());
    }
    apply(bins, operations, &setting(respond_all), &Work::unlimited())
}

pub(super) fn setting(respond_all: bool) -> Setting<'static> {
    Setting {
        respond_all,
        writes: true,
        metadata: Metadata {
            digest: crate::key::Digest([1; 20]),
            set: b"",
            stores_key: false,
            tombstone: false,
            void_time_s: 0,
            update_time_ms: 0,
            size_bytes: 0,
            in_memory: true,
            now: crate::time::Now::EPOCH,
        },
        key: None,
    }
}

fn after(applied: &Applied<'_>, name: &str) -> Option<Value<'static>> {
    applied.bins.get(name.as_bytes()).map(|value| Value {
        particle: value.particle,
        bytes: Cow::Owned(value.bytes.to_vec()),
    })
}

#[test]
fn operations_see_what_earlier_ones_of_the_command_did() {
    let done = run(
        &[("n", int(1))],
        &[
            Operation::Read(b"n"),
            Operation::Increment(b"n", Operand::Value(int(4))),
            Operation::Read(b"n"),
            Operation::Write(b"n", None),
            Operation::Read(b"n"),
        ],
        false,
    )
    .unwrap();
    let values: Vec<_> = done
        .answers
        .iter()
        .map(|(_, value)| value.clone())
        .collect();
    assert_eq!(values, [Some(int(1)), Some(int(5))]);
    assert!(done.bins.is_empty());
}

#[test]
fn respond_all_gives_one_answer_per_operation_but_none_for_touch() {
    let operations = [
        Operation::Write(b"a", Some(int(1))),
        Operation::Touch,
        Operation::Read(b"b"),
        Operation::DeleteAll,
    ];
    assert_eq!(run(&[], &operations, true).unwrap().answers.len(), 3);
    assert_eq!(run(&[], &operations, false).unwrap().answers.len(), 0);
}

#[test]
fn numbers_wrap_create_and_refuse_other_types() {
    let add = |bin: Option<Value<'static>>, operand: Operand<'static>| {
        let before: Vec<_> = bin.into_iter().map(|value| ("n", value)).collect();
        run(&before, &[Operation::Increment(b"n", operand)], false)
            .map(|applied| after(&applied, "n").unwrap())
    };
    assert_eq!(
        add(Some(int(i64::MAX)), Operand::Value(int(1))),
        Ok(int(i64::MIN))
    );
    assert_eq!(add(None, Operand::Value(int(3))), Ok(int(3)));
    assert_eq!(add(Some(int(3)), Operand::Floored(-5)), Ok(int(0)));
    assert_eq!(
        add(Some(text("x")), Operand::Value(int(1))),
        Err(OperationError::Incompatible(ParticleType::String))
    );
}

#[test]
fn text_joins_only_with_its_own_type() {
    let done = run(
        &[("t", text("b")), ("x", blob(b"2"))],
        &[
            Operation::Append(b"t", text("c")),
            Operation::Prepend(b"t", text("a")),
            Operation::Prepend(b"x", blob(b"1")),
            Operation::Append(b"new", text("n")),
        ],
        false,
    )
    .unwrap();
    assert_eq!(after(&done, "t"), Some(text("abc")));
    assert_eq!(after(&done, "x"), Some(blob(b"12")));
    assert_eq!(after(&done, "new"), Some(text("n")));
    let mixed = run(
        &[("t", text("b"))],
        &[Operation::Append(b"t", blob(b"c"))],
        false,
    );
    assert_eq!(
        mixed,
        Err(OperationError::Incompatible(ParticleType::String))
    );
}

#[test]
fn contradicting_commands_are_refused() {
    let reads = CommandFlags {
        reads: true,
        ..CommandFlags::default()
    };
    let replaces = CommandFlags {
        replaces: true,
        ..CommandFlags::default()
    };
    let write = Operation::Write(b"a", Some(int(1)));
    assert_eq!(check(&[], reads), Err(OperationError::Count(0)));
    assert!(check(std::slice::from_ref(&write), replaces).is_ok());
    for refused in [
        Operation::Touch,
        Operation::Write(b"a", None),
        Operation::Append(b"a", text("x")),
        Operation::DeleteAll,
    ] {
        assert!(check(&[refused], replaces).is_err());
    }
    assert!(check(&[Operation::Read(b"a")], CommandFlags::default()).is_err());
    assert!(check(&[Operation::ReadAll, Operation::Read(b"a")], reads).is_err());
    assert!(check(&[Operation::ReadAll, write.clone()], reads).is_ok());
    assert!(
        check(
            &[write],
            CommandFlags {
                get_all: true,
                ..reads
            }
        )
        .is_err()
    );
}

/// A packed list in a bin.
fn list(packed: &'static [u8]) -> Value<'static> {
    Value {
        particle: ParticleType::List,
        bytes: Cow::Borrowed(packed),
    }
}

fn reads(payload: &[u8]) -> Operation<'_> {
    Operation::CollectionRead(b"l", Collection::parse(payload, Access::Read))
}

fn modifies(payload: &[u8]) -> Operation<'_> {
    Operation::CollectionModify(b"l", Collection::parse(payload, Access::Modify))
}

const SIZE: &[u8] = &[0x91, 16];
const APPEND: &[u8] = &[0x92, 1, 9];
const CLEAR: &[u8] = &[0x91, 11];
const FIND: &[u8] = &[0x93, 20, 7, 8];

#[test]
fn collections_are_changed_and_read_in_order() {
    let before = [("l", list(&[0x91, 1]))];
    let operations = [reads(SIZE), modifies(APPEND), reads(SIZE), modifies(CLEAR)];
    let done = run(&before, &operations, false).unwrap();
    let told: Vec<_> = done.answers.iter().map(|(_, told)| told.clone()).collect();
    assert_eq!(told, [Some(int(1)), Some(int(2)), Some(int(2))]);
    assert_eq!(after(&done, "l"), Some(list(&[0x90])));
    let all = run(&before, &operations, true).unwrap();
    assert_eq!(all.answers.len(), 4, "each has an answer when all are to");
    assert_eq!(all.answers[3].1, None);
}

#[test]
fn of_a_missing_bin_nothing_is_read_and_of_a_missing_element_nil_is_told() {
    let told = |before: &[_], operation, all| {
        run(before, &[operation], all).map(|done| done.answers.len())
    };
    assert_eq!(told(&[], reads(SIZE), false), Ok(0));
    assert_eq!(told(&[], reads(&[0x93]), false), Ok(0));
    assert_eq!(told(&[], reads(SIZE), true), Ok(1));
    assert_eq!(told(&[("l", list(&[0x91, 1]))], reads(FIND), false), Ok(1));
    let malformed = told(&[("l", list(&[0x91, 1]))], reads(&[0x93]), false);
    assert!(matches!(
        malformed,
        Err(OperationError::Collection(CdtError::Parameter(_)))
    ));
    assert_eq!(
        told(&[("l", int(1))], modifies(APPEND), false),
        Err(OperationError::Collection(CdtError::Incompatible))
    );
}

#[test]
fn what_makes_nothing_makes_no_bin() {
    assert!(run(&[], &[modifies(CLEAR)], false).unwrap().bins.is_empty());
    let made = run(&[], &[modifies(APPEND)], false).unwrap();
    assert_eq!(after(&made, "l"), Some(list(&[0x91, 9])));
}

#[test]
fn collections_do_not_go_with_replaces_or_with_read_all() {
    let reading = CommandFlags {
        reads: true,
        ..CommandFlags::default()
    };
    let replacing = CommandFlags {
        replaces: true,
        ..reading
    };
    assert!(check(&[modifies(APPEND)], CommandFlags::default()).is_ok());
    assert!(check(&[reads(SIZE)], reading).is_ok());
    assert!(check(&[reads(SIZE)], CommandFlags::default()).is_err());
    assert!(check(&[modifies(APPEND)], replacing).is_err());
    assert!(check(&[Operation::ReadAll, modifies(APPEND)], reading).is_err());
    assert!(check(&[Operation::ReadAll, reads(SIZE)], reading).is_err());
}
