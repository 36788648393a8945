//! Operations that call: on bits, on sketches, and expressions.

use std::borrow::Cow;

use super::{Applied, Operation, OperationError, Setting};
use crate::bin::Bins;
use crate::expr::Change;
use crate::value::Value;
use crate::work::Work;

/// Applies one of them.
pub(super) fn apply<'a>(
    applied: &mut Applied<'a>,
    operation: &Operation<'a>,
    setting: &Setting<'_>,
    work: &Work,
) -> Result<(), OperationError> {
    let Applied { bins, answers } = applied;
    let (name, answer, tells_always) = match operation {
        Operation::BitsRead(name, call) => {
            work.spend(call.steps(bytes_of(bins, name)))?;
            let answer = bins.get(name).map(|value| call.read(value)).transpose()?;
            (*name, answer, false)
        }
        Operation::HllRead(name, call) => {
            work.spend(call.steps(bytes_of(bins, name)))?;
            let answer = bins.get(name).map(|value| call.read(value)).transpose()?;
            (*name, answer, false)
        }
        Operation::BitsModify(name, call) => {
            work.spend(call.steps(bytes_of(bins, name)))?;
            if let Some(value) = call.modify(bins.get(name))? {
                bins.set(name, value);
            }
            (*name, None, false)
        }
        Operation::HllModify(name, call) => {
            work.spend(call.steps(bytes_of(bins, name)))?;
            let done = call.modify(bins.get(name))?;
            if let Some(value) = done.value {
                bins.set(name, value);
            }
            (*name, done.answer, false)
        }
        Operation::ExpressionRead(name, read) => {
            let record = (setting.metadata, setting.key, &*bins);
            let answer = read.evaluate(&record, work)?.map(own);
            // In a command that writes, an expression without a result says so.
            (*name, answer, setting.writes)
        }
        Operation::ExpressionWrite(name, write) => {
            let exists = bins.get(name).is_some();
            let record = (setting.metadata, setting.key, &*bins);
            let change = match write.evaluate(&record, exists, work)? {
                Change::Set(value) => Change::Set(own(value)),
                Change::Nothing => Change::Nothing,
                Change::Remove => Change::Remove,
            };
            carry_out(bins, name, change);
            (*name, None, false)
        }
        _ => return Ok(()), // no call
    };
    if answer.is_some() || setting.respond_all || tells_always {
        answers.push((Cow::Borrowed(name), answer));
    }
    Ok(())
}

fn carry_out<'a>(bins: &mut Bins<'a>, name: &'a [u8], change: Change<'static>) {
    match change {
        Change::Nothing => {}
        Change::Remove => bins.remove(name),
        Change::Set(value) => bins.set(name, value),
    }
}

/// Bytes of a bin's value; none if there is none.
fn bytes_of(bins: &Bins<'_>, name: &[u8]) -> usize {
    bins.get(name).map_or(0, |value| value.bytes.len())
}

fn own(value: Value<'_>) -> Value<'static> {
    Value {
        particle: value.particle,
        bytes: Cow::Owned(value.bytes.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{int, setting};
    use super::super::{CommandFlags, apply, check};
    use super::*;
    use crate::bit::{BitModify, BitRead};
    use crate::call::CallError;
    use crate::expr::{ExpressionRead, ExpressionWrite};
    use crate::hll::{HllModify, HllRead};
    use crate::value::ParticleType;

    const HLL_ADD: &[u8] = &[0x93, 1, 0x92, 1, 2, 8];

    fn read(payload: &[u8]) -> Operation<'static> {
        let read = ExpressionRead::parse(payload).expect("an expression");
        Operation::ExpressionRead(b"out", Box::new(read))
    }

    fn write(payload: &[u8]) -> Operation<'static> {
        let write = ExpressionWrite::parse(payload).expect("an expression");
        Operation::ExpressionWrite(b"n", Box::new(write))
    }

    #[test]
    fn calls_see_what_earlier_operations_did_and_answer_in_order() {
        let resize = BitModify::parse(&[0x92, 0, 2]).unwrap();
        let invert = BitModify::parse(&[0x93, 7, 0, 4]).unwrap();
        let count = BitRead::parse(&[0x93, 51, 0, 16]).unwrap();
        let operations = [
            Operation::BitsModify(b"b", resize),
            Operation::BitsModify(b"b", invert),
            Operation::BitsRead(b"b", count),
            Operation::HllModify(b"h", HllModify::parse(HLL_ADD).unwrap()),
            Operation::HllRead(b"h", HllRead::parse(&[0x91, 50]).unwrap()),
            Operation::Write(b"n", Some(int(4))),
            read(&[0x91, 0x93, 20, 0x93, 81, 2, 0xa1, b'n', 1]),
            write(&[0x91, 0x93, 22, 0x93, 81, 2, 0xa1, b'n', 3]),
            Operation::Read(b"n"),
        ];
        let done = apply(
            Bins::default(),
            &operations,
            &setting(false),
            &Work::unlimited(),
        )
        .unwrap();
        let values: Vec<_> = done
            .answers
            .into_iter()
            .map(|(_, value)| value.unwrap())
            .collect();
        assert_eq!(values, [int(4), int(2), int(2), int(5), int(12)]);
        let done = apply(
            Bins::default(),
            &operations,
            &setting(true),
            &Work::unlimited(),
        )
        .unwrap();
        assert_eq!(done.answers.len(), operations.len());
    }

    #[test]
    fn nothing_to_tell_is_told_only_where_it_is_asked_for() {
        let count = BitRead::parse(&[0x93, 51, 0, 8]).unwrap();
        let told = |operation: Operation<'static>, respond_all, writes| {
            let setting = Setting {
                writes,
                ..setting(respond_all)
            };
            apply(Bins::default(), &[operation], &setting, &Work::unlimited())
                .unwrap()
                .answers
                .len()
        };
        assert_eq!(told(Operation::BitsRead(b"b", count), false, true), 0); // there is no bin
        assert_eq!(told(Operation::BitsRead(b"b", count), true, false), 1);
        assert_eq!(told(read(&[0x91, 0xc0]), false, true), 1);
        assert_eq!(told(read(&[0x91, 0xc0]), false, false), 0);
        assert_eq!(told(read(&[0x92, 0x91, 0, 16]), true, false), 1);
    }

    #[test]
    fn a_refused_call_leaves_the_record_as_it_was() {
        let mut bins = Bins::default();
        bins.set(b"n", int(1));
        let invert = BitModify::parse(&[0x93, 7, 0, 4]).unwrap();
        let operations = [
            Operation::Write(b"n", Some(int(2))),
            Operation::BitsModify(b"n", invert),
        ];
        let refused = OperationError::Call(CallError::Incompatible(ParticleType::Integer));
        assert_eq!(
            apply(
                bins.clone(),
                &operations,
                &setting(false),
                &Work::unlimited()
            ),
            Err(refused)
        );
        let removed = apply(
            bins,
            &[write(&[0x92, 0xc0, 4])],
            &setting(false),
            &Work::unlimited(),
        )
        .unwrap();
        assert!(removed.bins.is_empty());
    }

    #[test]
    fn calls_are_reads_and_changes_like_others_when_a_command_is_checked() {
        let replaces = CommandFlags {
            replaces: true,
            ..CommandFlags::default()
        };
        let reads = CommandFlags {
            reads: true,
            ..CommandFlags::default()
        };
        let bits = Operation::BitsModify(b"b", BitModify::parse(&[0x92, 0, 2]).unwrap());
        let add = Operation::HllModify(b"h", HllModify::parse(HLL_ADD).unwrap());
        assert!(check(std::slice::from_ref(&bits), replaces).is_err());
        assert!(check(std::slice::from_ref(&add), replaces).is_err());
        assert!(check(&[write(&[0x91, 5])], replaces).is_ok());
        assert!(check(&[read(&[0x91, 5])], CommandFlags::default()).is_err());
        assert!(check(&[read(&[0x91, 5])], reads).is_ok());
        assert!(check(&[Operation::ReadAll, add], reads).is_err()); // it answers
        assert!(check(&[Operation::ReadAll, bits], reads).is_ok());
    }
}
