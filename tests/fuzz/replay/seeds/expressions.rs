//! Calls and expressions, as hex: spaces part arguments.

use super::Seeds;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

fn all(seeds: &[(&'static str, &str)]) -> Seeds {
    seeds
        .iter()
        .map(|(name, text)| (*name, unhex(text)))
        .collect()
}

/// The first byte chooses the value.
pub(super) fn calls() -> Seeds {
    all(&[
        ("resize", "02 94 00 30 00 01"),
        ("insert", "02 94 01 ff a304ffee 00"),
        ("remove", "02 94 02 05 cc80 08"),
        ("set", "02 95 03 09 14 a404aabbcc 04"),
        ("xor", "02 94 05 d0c0 08 c40204f0"),
        ("not", "02 94 07 03 cd0100 08"),
        ("shift", "02 95 08 04 70 0b 00"),
        ("add", "02 96 0a 03 11 ce00012345 00 03"),
        ("subtract", "02 96 0b d0f0 10 d1ff00 04 01"),
        ("set_int", "02 94 0c 05 40 cfffffffffffffffff"),
        ("get", "02 93 32 05 cc91"),
        ("scan", "02 94 35 00 cd0140 c3"),
        ("get_int", "02 94 36 07 40 01"),
        ("create", "00 92 00 05"),
        ("far", "02 92 00 ce07ffffff"),
        ("hll_init", "00 93 00 08 10"),
        ("hll_add", "03 92 01 94 05 a20361 cb3ff8000000000000 c0"),
        ("hll_create", "00 94 01 93 01 02 03 04 04"),
        (
            "hll_union",
            "04 93 02 91 b812 0004000000000000000000000000000040000c2000000005 08",
        ),
        ("hll_fold", "03 92 04 04"),
        ("hll_refresh", "04 91 03"),
        ("hll_describe", "04 91 37"),
        (
            "hll_similar",
            "03 92 36 b812 0004000000000000000000000000000040000c2000000005",
        ),
        ("hll_contains", "04 92 38 92 05 cd03e8"),
    ])
}

pub(super) fn expressions() -> Seeds {
    all(&[
        ("greater", "93 03 93 51 02 a169 04"),
        ("since_update", "93 05 91 43 cd03e8"),
        ("logic", "93 10 93 11 c3 9100 92 12 93 51 01 a174"),
        ("exclusive", "94 13 c3 c2 9100"),
        (
            "let",
            "94 7d a178 93 51 02 a169 93 03 93 16 92 7c a178 92 7c a178 0a",
        ),
        ("cond", "96 7b 9147 01 9148 02 9100"),
        (
            "numbers",
            "93 01 94 14 93 17 07 02 93 1a 07 04 93 24 01 03 92 23 00",
        ),
        (
            "doubles",
            "93 04 93 18 93 51 07 a166 cb4000000000000000 92 1f 03",
        ),
        ("scan", "93 01 93 28 0f c3 93 29 0f c2"),
        ("pattern", "94 07 03 ab5e68656c5b612d7a5d2a24 93 51 03 a173"),
        (
            "basic_pattern",
            "94 07 00 ad5c28685c7c785c295c7b312c 325c7d 93 51 03 a173",
        ),
        ("in_list", "93 09 a20361 93 51 04 a16c"),
        ("quoted", "93 01 93 51 04 a16c 92 7e 93 01 a20361 c0"),
        ("maps", "93 01 92 65 93 51 05 a16d 92 66 82c70001c0a2036b01"),
        ("key", "93 01 92 50 03 a50375736572"),
        ("facts", "93 05 92 40 64 95 14 9141 9144 9145 914a"),
        (
            "bits",
            "93 01 95 7f 02 01 93 33 00 92 14 08 93 51 06 a162 0c",
        ),
        (
            "bits_changed",
            "95 7f 06 41 94 03 04 08 a204ff 93 51 06 a162",
        ),
        (
            "sketch",
            "95 7f 02 02 91 32 95 7f 09 42 92 01 92 7e 92 05 06 93 51 09 a168",
        ),
        ("built_in", "93 03 93 7a 02 01 04"),
        ("operation", "92 93 14 93 51 02 a169 01 00"),
        ("nil_may_delete", "92 c0 04"),
        ("deep", &"9212".repeat(300)),
        ("huge_claim", "ddffffffff 11 c3 c3"),
        (
            "geo_within",
            "93 08 93 51 08 a167 d9 2e 17 7b2274797065223a224165726f436972636c65222c22636f6f7264696e61746573223a5b5b312c325d2c395d7d",
        ),
        (
            "geo",
            "92 92 7e 91 da 0027 17 7b2274797065223a22506f696e74222c22636f6f7264696e61746573223a5b312c325d7d 10",
        ),
    ])
}
