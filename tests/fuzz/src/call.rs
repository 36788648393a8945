//! Calls on blobs and sketches: the first byte chooses the value, the rest is the call.

use std::borrow::Cow;

use karst_data::bit::{BitModify, BitRead};
use karst_data::hll::{HllModify, HllRead};
use karst_data::value::{ParticleType, Value};

/// Values that are called on, by the first byte.
fn values() -> [Option<Value<'static>>; 6] {
    let value = |particle, bytes: Vec<u8>| {
        let bytes = Cow::Owned(bytes);
        Some(Value { particle, bytes })
    };
    let sketch = |index_bits: u8, minhash_bits: u8| {
        let bits = (6 + usize::from(minhash_bits)) << index_bits;
        let mut bytes = vec![0x5a; 11 + bits.div_ceil(8)];
        bytes[..3].copy_from_slice(&[0, index_bits, minhash_bits]);
        bytes[3..11].fill(0);
        bytes
    };
    [
        None,
        value(ParticleType::Blob, Vec::new()),
        value(ParticleType::Blob, (0..40).collect()),
        value(ParticleType::Hll, sketch(4, 0)),
        value(ParticleType::Hll, sketch(6, 20)),
        value(ParticleType::Integer, vec![0, 0, 0, 0, 0, 0, 0, 9]),
    ]
}

/// Calls what `bytes` say, on the value that they choose.
pub fn check(bytes: &[u8]) {
    let Some((choice, payload)) = bytes.split_first() else {
        return;
    };
    let values = values();
    let value = values[usize::from(*choice) % values.len()].as_ref();
    if let Ok(call) = BitModify::parse(payload)
        && let Ok(Some(changed)) = call.modify(value)
    {
        storable(&changed);
        let again = call.modify(value).expect("it went well before");
        assert_eq!(
            again.as_ref(),
            Some(&changed),
            "the same call did something else"
        );
    }
    if let Ok(call) = HllModify::parse(payload)
        && let Ok(done) = call.modify(value)
    {
        done.value.iter().chain(&done.answer).for_each(storable);
    }
    let Some(value) = value else {
        return;
    };
    if let Ok(call) = BitRead::parse(payload)
        && let Ok(answer) = call.read(value)
    {
        storable(&answer);
        assert!(answer.bytes.len() <= value.bytes.len().max(8));
    }
    if let Ok(call) = HllRead::parse(payload)
        && let Ok(answer) = call.read(value)
    {
        storable(&answer);
    }
}

/// What comes out is a value as if a client had sent it.
pub(crate) fn storable(value: &Value<'_>) {
    let stored = Value::from_wire(value.particle as u8, &value.bytes);
    assert_eq!(stored.as_ref(), Ok(&Some(value.clone())));
}
