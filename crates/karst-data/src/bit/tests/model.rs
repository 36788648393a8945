//! Bits as a list of booleans: slow, obvious, and sharing no code with the real thing.
//!
//! `KARST_STEPS` is how many random calls are compared, `KARST_SEED` repeats a run.

use super::{blob, code, modified, read_of};
use crate::call::CallError;
use crate::msgpack::{write_int, write_list_count, write_typed};

/// splitmix64: numbers from a seed.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: i64) -> i64 {
        (self.next() % limit as u64) as i64
    }

    fn one_of(&mut self, choices: &[i64]) -> i64 {
        choices[self.below(choices.len() as i64) as usize]
    }
}

type Bits = Vec<bool>;

fn bits_of(bytes: &[u8]) -> Bits {
    bytes
        .iter()
        .flat_map(|byte| format!("{byte:08b}").into_bytes())
        .map(|digit| digit == b'1')
        .collect()
}

fn bytes_of(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8)
        .map(|eight| {
            (0..8)
                .map(|at| eight.get(at) == Some(&true))
                .fold(0, |byte, bit| byte * 2 + u8::from(bit))
        })
        .collect()
}

fn number_of(bits: &[bool]) -> i128 {
    bits.iter()
        .fold(0, |number, bit| number * 2 + i128::from(*bit))
}

fn put_number(bits: &mut [bool], mut number: i128) {
    for bit in bits.iter_mut().rev() {
        *bit = number.rem_euclid(2) == 1;
        number = number.div_euclid(2);
    }
}

/// A random call: its numbers, and a buffer if it has one behind the second or third.
struct Call {
    numbers: Vec<i64>,
    buffer: Option<(usize, Vec<u8>)>,
    bool_last: bool,
}

impl Call {
    fn draw(rng: &mut Rng, blob_bytes: i64) -> Call {
        let code = rng.one_of(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 50, 51, 52, 53, 54]);
        let unit = if matches!(code, 0..=2) { 1 } else { 8 };
        let length = blob_bytes * unit;
        let offset = rng.below(length * 2 + 12) - length - 4;
        let mut size = rng.below(length + 4);
        if matches!(code, 10..=12 | 54) {
            size %= 66;
        }
        let mut call = Call {
            numbers: vec![code, offset, size],
            buffer: None,
            bool_last: matches!(code, 52 | 53),
        };
        let flags = rng.one_of(&[0, 0, 0, 2, 4, 6, 8, 12, 1, 16, 5]);
        match code {
            0 => call.numbers = vec![0, rng.below(40), flags, rng.below(8)],
            1 => {
                call.numbers = vec![1, offset, flags];
                call.buffer = Some((2, Call::noise(rng, 6)));
            }
            3..=6 => {
                let longest = size / 8 + rng.below(3);
                call.numbers.push(flags);
                call.buffer = Some((3, Call::noise(rng, longest)));
            }
            2 | 7 => call.numbers.push(flags),
            8 | 9 => call.numbers.extend([rng.below(length + 3), flags]),
            10 | 11 => {
                let value = rng.next() as i64 >> rng.below(64);
                call.numbers.extend([value, flags, rng.below(8)]);
            }
            12 => {
                let value = rng.next() as i64 >> rng.below(64);
                call.numbers.extend([value, flags]);
            }
            52 | 53 => call.numbers.push(rng.below(2)),
            54 => call.numbers.push(rng.below(3)),
            _ => {}
        }
        call
    }

    fn noise(rng: &mut Rng, bytes: i64) -> Vec<u8> {
        let kind = rng.below(3);
        (0..bytes)
            .map(|_| match kind {
                0 => rng.next() as u8,
                1 => 0xff,
                _ => 0,
            })
            .collect()
    }

    fn pack(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = self.numbers.len() + usize::from(self.buffer.is_some());
        write_list_count(&mut out, count as u32);
        for (at, number) in self.numbers.iter().enumerate() {
            if let Some((before, bytes)) = &self.buffer
                && *before == at
            {
                write_typed(&mut out, 4, bytes);
            }
            if self.bool_last && at + 1 == self.numbers.len() {
                out.push(0xc2 + *number as u8);
            } else {
                write_int(&mut out, *number, false);
            }
        }
        out
    }
}

const PARAMETER: &str = "!4";
const OUTSIDE: &str = "!26";

fn hex(bits: &[bool]) -> String {
    bytes_of(bits)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What a call must answer.
fn expected(before: Option<&[u8]>, call: &Call) -> String {
    let code = call.numbers[0];
    match code {
        0..=12 => modify(before.map(bits_of), call),
        _ => read(&bits_of(before.unwrap_or_default()), call),
    }
}

fn start_of(offset: i64, length: usize) -> Option<usize> {
    if offset < 0 {
        (length as i64 + offset).try_into().ok()
    } else {
        Some(offset as usize)
    }
}

fn read(bits: &[bool], call: &Call) -> String {
    let [code, offset, size, rest @ ..] = &call.numbers[..] else {
        return PARAMETER.to_owned();
    };
    if *size == 0 || *code == 54 && (*size > 64 || rest[0] > 1) {
        return PARAMETER.to_owned();
    }
    let Some(start) = start_of(*offset, bits.len()) else {
        return PARAMETER.to_owned();
    };
    let Some(window) = bits.get(start..start + *size as usize) else {
        return OUTSIDE.to_owned();
    };
    let place = |at: Option<usize>| at.map_or(-1, |at| at as i64).to_string();
    let wanted = |bit: &bool| i64::from(*bit) == rest[0];
    match code {
        50 => format!("x:{}", hex(window)),
        51 => window.iter().filter(|bit| **bit).count().to_string(),
        52 => place(window.iter().position(wanted)),
        53 => place(window.iter().rposition(wanted)),
        _ => {
            let number = number_of(window);
            let negative = rest[0] == 1 && window[0];
            let number = if negative {
                number - (1 << size)
            } else {
                number
            };
            (number as i64).to_string()
        }
    }
}

fn modify(before: Option<Bits>, call: &Call) -> String {
    let code = call.numbers[0];
    let flags = match code {
        0 | 1 => call.numbers[2],
        2..=7 => call.numbers[3],
        _ => call.numbers[4],
    };
    let allowed = match code {
        0 | 1 => 7,
        10..=12 => 6,
        _ => 14,
    };
    if flags & !allowed != 0 || flags & 3 == 3 {
        return PARAMETER.to_owned();
    }
    let soft = |error: &str| {
        if flags & 4 != 0 {
            "same".to_owned()
        } else {
            error.to_owned()
        }
    };
    if let Err(refused) = well_formed(call) {
        return refused.to_owned();
    }
    match &before {
        Some(_) if flags & 1 != 0 => return soft("!6"),
        None if flags & 2 != 0 || code > 1 => return soft("!17"),
        _ => {}
    }
    let existed = before.is_some();
    let mut bits = before.unwrap_or_default();
    match changed(&mut bits, existed, call, flags & 8 != 0) {
        Ok(true) => hex(&bits),
        Ok(false) => "same".to_owned(),
        Err((hard, error)) => {
            if hard {
                error.to_owned()
            } else {
                soft(error)
            }
        }
    }
}

fn well_formed(call: &Call) -> Result<(), &'static str> {
    let numbers = &call.numbers;
    let size = numbers[2];
    let bad = match numbers[0] {
        0 => numbers[3] & 6 == 6,
        1 => call
            .buffer
            .as_ref()
            .is_some_and(|(_, bytes)| bytes.is_empty()),
        3..=6 => {
            let held = call
                .buffer
                .as_ref()
                .map_or(0, |(_, bytes)| bytes.len() as i64);
            size == 0 || held * 8 < size
        }
        10 | 11 => size == 0 || size > 64 || numbers[5] & 6 == 6,
        12 => size == 0 || size > 64,
        _ => size == 0,
    };
    if bad { Err(PARAMETER) } else { Ok(()) }
}

/// Whether something changed, or an error and whether no-fail does not help against it.
fn changed(
    bits: &mut Bits,
    existed: bool,
    call: &Call,
    partial: bool,
) -> Result<bool, (bool, &'static str)> {
    let numbers = &call.numbers;
    let code = numbers[0];
    if code == 0 {
        return resize(bits, existed, numbers[1] as usize * 8, numbers[3]);
    }
    let unit = if code <= 2 { 8 } else { 1 };
    let start = start_of(numbers[1], bits.len() / unit).ok_or((true, PARAMETER))? * unit;
    if code == 1 {
        let buffer = call
            .buffer
            .as_ref()
            .map(|(_, bytes)| bits_of(bytes))
            .unwrap_or_default();
        if start > bits.len() {
            bits.resize(start, false);
        }
        bits.splice(start..start, buffer);
        return Ok(true);
    }
    let end = start + numbers[2] as usize * unit;
    let error = if code == 2 { PARAMETER } else { OUTSIDE };
    let number = (10..=12).contains(&code);
    if end > bits.len() && (number || !partial) || start >= bits.len() {
        return Err((false, error));
    }
    let end = end.min(bits.len());
    if code == 2 {
        bits.drain(start..end);
        return Ok(true);
    }
    window(&mut bits[start..end], call)
}

fn resize(
    bits: &mut Bits,
    existed: bool,
    length: usize,
    how: i64,
) -> Result<bool, (bool, &'static str)> {
    if existed && length == bits.len() {
        return Ok(false);
    }
    if how & 2 != 0 && length < bits.len() || how & 4 != 0 && length > bits.len() {
        return Err((false, PARAMETER));
    }
    if how & 1 != 0 {
        bits.reverse();
    }
    bits.resize(length, false);
    if how & 1 != 0 {
        bits.reverse();
    }
    Ok(true)
}

fn window(bits: &mut [bool], call: &Call) -> Result<bool, (bool, &'static str)> {
    let old = bits.to_vec();
    let numbers = &call.numbers;
    let buffer = call
        .buffer
        .as_ref()
        .map(|(_, bytes)| bits_of(bytes))
        .unwrap_or_default();
    let shifted = |at: i64| usize::try_from(at).ok().and_then(|at| old.get(at)) == Some(&true);
    for at in 0..bits.len() {
        bits[at] = match numbers[0] {
            3 => buffer[at],
            4 => old[at] || buffer[at],
            5 => old[at] != buffer[at],
            6 => old[at] && buffer[at],
            7 => !old[at],
            8 => shifted(at as i64 + numbers[3]),
            9 => shifted(at as i64 - numbers[3]),
            _ => old[at],
        };
    }
    match numbers[0] {
        10 | 11 => sum(bits, numbers[3], numbers[0] == 11, numbers[5])?,
        12 => put_number(bits, i128::from(numbers[3])),
        _ => {}
    }
    Ok(true)
}

fn sum(
    bits: &mut [bool],
    value: i64,
    subtract: bool,
    how: i64,
) -> Result<(), (bool, &'static str)> {
    let modulus = 1i128 << bits.len();
    let value = i128::from(value).rem_euclid(modulus);
    let old = number_of(bits);
    let signed = |number: i128| {
        if number >= modulus / 2 {
            number - modulus
        } else {
            number
        }
    };
    let (exact, held) = if how & 1 == 0 {
        let exact = if subtract { old - value } else { old + value };
        (exact, exact.clamp(0, modulus - 1))
    } else {
        let value = signed(if subtract {
            (-value).rem_euclid(modulus)
        } else {
            value
        });
        let exact = signed(old) + value;
        // two negatives that wrap to exactly zero are not noticed
        let exact = if exact == -modulus { 0 } else { exact };
        (exact, exact.clamp(-modulus / 2, modulus / 2 - 1))
    };
    match how & 6 {
        0 if exact != held => return Err((false, OUTSIDE)),
        2 => put_number(bits, held),
        _ => put_number(bits, exact),
    }
    Ok(())
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn bits_do_what_a_list_of_booleans_does() {
    let seed = from_environment("KARST_SEED", 1);
    let mut rng = Rng(seed);
    let mut refused = 0;
    let steps = from_environment("KARST_STEPS", 20_000);
    for step in 0..steps {
        let length = rng.below(34);
        let bytes = (rng.below(20) > 0).then(|| Call::noise(&mut rng, length));
        let call = Call::draw(&mut rng, length.max(1));
        let value = bytes.clone().map(blob);
        let found = match (&value, call.numbers[0] >= 50) {
            (Some(value), true) => read_of(value, &call.pack()),
            (None, true) => continue,
            (value, false) => modified(value.as_ref(), &call.pack()),
        };
        let expected = expected(bytes.as_deref(), &call);
        assert_eq!(
            found, expected,
            "seed {seed} step {step}: {:?} {:?} on {bytes:?}",
            call.numbers, call.buffer
        );
        refused += u64::from(found.starts_with('!'));
    }
    assert!(
        refused > steps / 20 && refused < steps * 3 / 4,
        "{refused} of {steps} were refused"
    );
    assert_eq!(code(CallError::BinExists), "!6");
}
