use karst_data::flat::Meta;
use karst_data::key::Digest;
use karst_data::value::ParticleType;
use proptest::prelude::*;

use super::*;

const SEAL: Seal = Seal {
    device: 7,
    fill: 3,
    start: 4096,
};
const BYTES_MAX: usize = 1 << 20;

fn key(first: u8) -> MasterKey {
    let mut key = [9; MASTER_KEY_BYTES];
    key[0] = first;
    MasterKey(key)
}

/// Every way to store records.
fn codecs() -> Vec<Codec> {
    let compressions = [
        Compression::None,
        Compression::Lz4,
        Compression::Zstd(1),
        Compression::Zstd(19),
    ];
    let keys = [None, Some(key(1))];
    let of = |compression| {
        keys.iter()
            .map(move |key| Codec::new(compression, key.as_ref(), &[5, 7], BYTES_MAX))
    };
    compressions.into_iter().flat_map(of).collect()
}

#[derive(Clone, Debug)]
struct Sample {
    set: Vec<u8>,
    key: Option<Vec<u8>>,
    bins: Vec<(Vec<u8>, Vec<u8>)>,
    tombstone: bool,
    moves: u8,
}

impl Sample {
    fn meta(&self) -> Meta {
        Meta {
            digest: Digest([5; 20]),
            generation: 9,
            void_time_s: 77,
            update_time_ms: 0x01_2345_6789,
            version: [0, 0, 0, 1, 0, 0, 0, 0, 0, 42],
            tombstone: self.tombstone,
            over_tombstone: !self.tombstone,
            moves: self.moves,
        }
    }

    fn with_draft<R>(&self, with: impl FnOnce(Draft<'_, BinsOf<'_>>) -> R) -> R {
        let bins: BinsOf<'_> = self.bins.iter().map(|(name, value)| BinRef {
            name,
            particle: ParticleType::Blob,
            value,
        });
        with(Draft {
            meta: self.meta(),
            set: &self.set,
            key: self.key.as_deref(),
            bins,
        })
    }

    /// The record as it is stored at a place.
    fn stored(&self, codec: &Codec, seal: &Seal) -> Vec<u8> {
        self.with_draft(|draft| {
            let packed = codec.packs().then(|| codec.pack(&draft));
            let size = match &packed {
                Some(packed) => packed.stored_bytes(),
                None => codec.unpacked_bytes(draft.size_bytes()),
            };
            let mut space = vec![0; size.next_multiple_of(16)];
            match &packed {
                Some(packed) => packed.store(&mut space, seal),
                None => codec.store(&draft, &mut space, seal),
            }
            space
        })
    }

    fn check(&self, codec: &Codec, stored: &[u8], seal: &Seal) {
        let opened = Opened::default();
        let record = codec.open(stored, seal, &opened).unwrap();
        assert_eq!(record.meta, self.meta());
        assert_eq!(record.set, self.set);
        assert_eq!(record.key, self.key.as_deref());
        record.validate().unwrap();
        let bins: Vec<_> = record
            .bins()
            .map(|bin| (bin.name.to_vec(), bin.value.to_vec()))
            .collect();
        assert_eq!(bins, self.bins);
        let form = Form::check(stored, seal).unwrap();
        let facts = codec.facts(&form, stored, seal).unwrap();
        assert_eq!(facts, record.facts());
        assert_eq!(codec.header(stored, seal).unwrap().meta, self.meta());
        let again = Opened::default();
        let trusted = codec.open_unchecked(stored, || *seal, &again).unwrap();
        assert_eq!(trusted.facts(), record.facts());
        assert!(trusted.bins().eq(record.bins()));
    }
}

type BinsOf<'a> = std::iter::Map<
    std::slice::Iter<'a, (Vec<u8>, Vec<u8>)>,
    fn(&'a (Vec<u8>, Vec<u8>)) -> BinRef<'a>,
>;

fn samples() -> impl Strategy<Value = Sample> {
    let repeated = (any::<[u8; 7]>(), 0usize..600).prop_map(|(part, times)| part.repeat(times));
    let value = prop_oneof![proptest::collection::vec(any::<u8>(), 0..3000), repeated];
    (
        proptest::collection::vec(any::<u8>(), 0..63),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
        proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..15), value), 0..4),
        proptest::bool::weighted(0.1),
        prop_oneof![Just(0), Just(255), any::<u8>()],
    )
        .prop_map(|(set, key, bins, tombstone, moves)| Sample {
            set,
            key: key.filter(|_| !tombstone),
            bins: if tombstone { vec![] } else { bins },
            tombstone,
            moves,
        })
}

/// A record that packs well.
fn sample() -> Sample {
    Sample {
        set: b"cities".to_vec(),
        key: Some(b"\x03a secret key".to_vec()),
        bins: vec![(b"secret bin".to_vec(), b"a secret value ".repeat(20))],
        tombstone: false,
        moves: 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_stored_in_any_form_is_opened_as_it_was(sample in samples()) {
        for codec in codecs() {
            let stored = sample.stored(&codec, &SEAL);
            sample.check(&codec, &stored, &SEAL);
        }
    }

    #[test]
    fn a_record_that_moves_keeps_its_content_in_every_form(sample in samples(), start in 1u64..1000) {
        let to = Seal { device: 5, fill: 8, start: start * 16 };
        for codec in codecs() {
            let mut moved = sample.stored(&codec, &SEAL);
            codec.rehouse(&mut moved, &SEAL, &to).unwrap();
            let moves = sample.moves.saturating_add(1);
            Sample { moves, ..sample.clone() }.check(&codec, &moved, &to);
            prop_assert!(codec.open(&moved, &SEAL, &Opened::default()).is_err());
            let form = Form::read(&moved).unwrap();
            prop_assert_eq!(form, Form::read(&sample.stored(&codec, &SEAL)).unwrap());
        }
    }

    #[test]
    fn bytes_that_lie_about_what_they_unpack_to_are_refused_and_never_panic(
        mut payload in proptest::collection::vec(any::<u8>(), 0..200),
        lz4 in any::<bool>(),
        unpacked in prop_oneof![0u32..400, any::<u32>()],
    ) {
        let mut record = Sample { bins: vec![], key: None, set: vec![], tombstone: false, moves: 0 }
            .stored(&Codec::plain(BYTES_MAX), &SEAL);
        record.truncate(HEADER_BYTES);
        if payload.len() >= UNPACKED_BYTES {
            payload[..UNPACKED_BYTES].copy_from_slice(&unpacked.to_le_bytes());
        }
        record.extend(&payload);
        Form {
            packing: Some(if lz4 { Packing::Lz4 } else { Packing::Zstd }),
            encrypted: false,
            payload_bytes: payload.len() as u32,
            set_bytes: 0,
        }
        .write(&mut record);
        reseal(&mut record, &SEAL).unwrap();
        let codec = Codec::plain(1000);
        let opened = Opened::default();
        if let Ok(record) = codec.open(&record, &SEAL, &opened) {
            prop_assert!(unpacked as usize <= 1000 - HEADER_BYTES);
            let _ = record.validate();
        }
    }
}

#[test]
fn any_flipped_byte_is_noticed_in_every_form_and_costs_the_header_only_where_it_lies() {
    for codec in codecs() {
        let stored = sample().stored(&codec, &SEAL);
        let form = Form::check(&stored, &SEAL).unwrap();
        assert_eq!(form.encrypted, codec.encrypts());
        assert_eq!(form.packing.is_some(), codec.packs());
        let front_bytes = HEADER_BYTES + b"cities".len();
        let header_end = if form.encrypted { 80 } else { front_bytes };
        for at in 0..form.end() {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x40;
            let opened = Opened::default();
            assert!(
                codec.open(&damaged, &SEAL, &opened).is_err(),
                "{codec:?}, byte {at}"
            );
            if at >= header_end || (4..8).contains(&at) {
                let form = Form::check_header(&damaged, &SEAL).unwrap();
                let facts = codec.facts(&form, &damaged, &SEAL).unwrap();
                let (meta, set) = (sample().meta(), &b"cities"[..]);
                assert_eq!(
                    (facts.meta, &*facts.set),
                    (meta, set),
                    "{codec:?}, byte {at}"
                );
            } else {
                let header = Form::check_header(&damaged, &SEAL);
                assert!(header.is_err(), "{codec:?}, byte {at}");
            }
        }
    }
}

#[test]
fn nothing_that_a_client_wrote_can_be_seen_in_an_encrypted_record() {
    for codec in codecs().iter().filter(|codec| codec.encrypts()) {
        let stored = sample().stored(codec, &SEAL);
        let digest = [5; 20];
        for secret in [&b"secret"[..], b"cities", &digest[..8]] {
            let seen = stored.windows(secret.len()).any(|window| window == secret);
            assert!(!seen, "{codec:?}: {}", String::from_utf8_lossy(secret));
        }
        // The same record at the next place shares nothing with this one but its first 16 bytes.
        let next = Seal {
            start: SEAL.start + 16,
            ..SEAL
        };
        let other = sample().stored(codec, &next);
        assert_eq!(stored[8..16], other[8..16]);
        let blocks = |bytes: &[u8]| {
            bytes[16..]
                .chunks(16)
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        };
        let others = blocks(&other);
        assert!(blocks(&stored).iter().all(|block| !others.contains(block)));
    }
}

#[test]
fn without_the_right_key_nothing_is_opened_and_checksums_can_be_checked_all_the_same() {
    let right = Codec::new(Compression::None, Some(&key(1)), &[7], BYTES_MAX);
    let stored = sample().stored(&right, &SEAL);
    let wrong = Codec::new(Compression::None, Some(&key(2)), &[7], BYTES_MAX);
    let opened = Opened::default();
    assert!(wrong.open(&stored, &SEAL, &opened).is_err());
    let opened = Opened::default();
    let none = Codec::plain(BYTES_MAX).open(&stored, &SEAL, &opened).err();
    assert!(matches!(none, Some(FlatError::Content(_))), "{none:?}");
    assert!(Form::check(&stored, &SEAL).is_ok());
    assert_ne!(key(1).check(7), key(2).check(7));
    assert_ne!(key(1).check(7), key(1).check(8));
    assert!(
        !format!("{:?}", key(1)).contains('9'),
        "a key is not printed"
    );
}

#[test]
fn what_does_not_get_smaller_is_stored_as_it_is() {
    let noise: Vec<u8> = (0u64..300)
        .map(|at| {
            let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as u8
        })
        .collect();
    let sample = Sample {
        bins: vec![(b"a".to_vec(), noise)],
        ..sample()
    };
    for codec in codecs().iter().filter(|codec| codec.packs()) {
        let form = Form::read(&sample.stored(codec, &SEAL)).unwrap();
        assert_eq!(form.packing, None, "{codec:?}");
    }
}

/// IEEE 1619-2007, vector 10.
#[test]
fn the_cipher_is_xts_as_the_standard_has_it() {
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    };
    let cipher = |key: &str| Aes256::new_from_slice(&hex(key)).unwrap();
    let cipher = Cipher {
        device: 7,
        data: cipher("2718281828459045235360287471352662497757247093699959574966967627"),
        tweak: cipher("3141592653589793238462643383279502884197169399375105820974944592"),
    };
    let plain: Vec<u8> = (0..512).map(|at| at as u8).collect();
    let unit = Seal {
        device: 7,
        fill: 0xff,
        start: 0,
    };
    let mut bytes = plain.clone();
    cipher.apply(&mut bytes, &unit, Direction::Encrypt);
    let begins = "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b";
    let ends = "b5e54c4f36ffda9fcea70b9c6e693e148c151";
    assert_eq!(bytes[..32], hex(begins));
    assert_eq!(bytes[494..], hex(&ends[1..]));
    cipher.apply(&mut bytes, &unit, Direction::Decrypt);
    assert_eq!(bytes, plain);
}
