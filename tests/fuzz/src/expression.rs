//! Filters and expression operations, run on one record.

use std::borrow::Cow;

use karst_data::bin::Bins;
use karst_data::expr::{
    Change, Expr, ExpressionRead, ExpressionWrite, Filter, Iteration, Metadata, Verdict,
};
use karst_data::key::Digest;
use karst_data::time::Now;
use karst_data::value::{ParticleType, Value};

use super::call::storable;

fn metadata() -> Metadata<'static> {
    Metadata {
        digest: Digest([7; 20]),
        set: b"demo",
        stores_key: true,
        tombstone: false,
        void_time_s: 1100,
        update_time_ms: 999_000,
        size_bytes: 320,
        in_memory: false,
        now: Now::from_epoch_ms(1_000_500),
    }
}

/// Bins of every type, each named by one letter.
fn bins() -> Bins<'static> {
    const GEO: &[u8] = b"\0\0\0{\"type\":\"Point\",\"coordinates\":[1,2]}";
    let values: [(&[u8], ParticleType, &[u8]); 8] = [
        (b"i", ParticleType::Integer, &[0, 0, 0, 0, 0, 0, 0, 5]),
        (b"f", ParticleType::Float, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]),
        (b"s", ParticleType::String, b"hello"),
        (b"b", ParticleType::Blob, &[0x0f, 0x10, 0xff]),
        (b"t", ParticleType::Bool, &[1]),
        (b"l", ParticleType::List, &[0x93, 1, 0xa2, 3, 97, 0xc0]),
        (
            b"m",
            ParticleType::Map,
            &[0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, 107, 1],
        ),
        (b"g", ParticleType::GeoJson, GEO),
    ];
    let mut bins = Bins::default();
    for (name, particle, bytes) in values {
        let bytes = Cow::Borrowed(bytes);
        bins.set(name, Value { particle, bytes });
    }
    let mut sketch = vec![0x21; 23];
    sketch[..11].copy_from_slice(&[0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let bytes = Cow::Owned(sketch);
    bins.set(
        b"h",
        Value {
            particle: ParticleType::Hll,
            bytes,
        },
    );
    bins
}

/// Takes `bytes` for an expression, for a filter and for both operations, and runs what they are.
pub fn check(bytes: &[u8]) {
    let (metadata, bins) = (metadata(), bins());
    let key: Option<&[u8]> = Some(b"\x03user");
    let record = (metadata, key, &bins);
    if let Ok(expr) = Expr::parse(bytes) {
        assert_eq!(expr.source(), bytes);
        let element = Iteration {
            key: None,
            value: &[5],
            index: Some(0),
        };
        let kinds = [
            expr.evaluate(&record).kind(),
            expr.evaluate(&metadata).kind(),
            expr.evaluate(&element).kind(),
        ];
        for kind in kinds.into_iter().flatten() {
            assert_eq!(kind, expr.result_type(), "the type was found wrong");
        }
    }
    if let Ok(filter) = Filter::parse(bytes) {
        let passes = filter.passes(&record);
        match filter.by_metadata(&metadata) {
            Verdict::Passes => assert!(passes, "metadata let it pass"),
            Verdict::FilteredOut => assert!(!passes, "metadata filtered it out"),
            Verdict::Undecided => {}
        }
    }
    if let Ok(read) = ExpressionRead::parse(bytes)
        && let Ok(Some(value)) = read.evaluate(&record)
        && value.particle != ParticleType::GeoJson
    // told as it lies there, whatever it is
    {
        storable(&value);
    }
    if let Ok(write) = ExpressionWrite::parse(bytes) {
        for exists in [true, false] {
            if let Ok(Change::Set(value)) = write.evaluate(&record, exists) {
                storable(&value);
            }
        }
    }
}
