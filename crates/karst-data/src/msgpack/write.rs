//! Writing packed elements in their canonical, smallest form.

use super::{InvalidCollection, Result};

/// Writes an integer in as few bytes as hold it; `wide` ones are above `i64::MAX`.
pub fn write_int(out: &mut Vec<u8>, value: i64, wide: bool) {
    if wide || value >= 0 {
        match value as u64 {
            value @ 0..=0x7f => out.push(value as u8),
            value @ 0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
            value @ 0x100..=0xffff => {
                out.push(0xcd);
                out.extend_from_slice(&(value as u16).to_be_bytes());
            }
            value @ 0x1_0000..=0xffff_ffff => {
                out.push(0xce);
                out.extend_from_slice(&(value as u32).to_be_bytes());
            }
            value => {
                out.push(0xcf);
                out.extend_from_slice(&value.to_be_bytes());
            }
        }
    } else if value >= -32 {
        out.push(value as i8 as u8);
    } else if let Ok(value) = i8::try_from(value) {
        out.extend_from_slice(&[0xd0, value as u8]);
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes the head of a string or blob of this many bytes, its type byte among them.
pub(crate) fn write_raw_head(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=31 => out.push(0xa0 | length as u8),
        32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes()); // messages are smaller than 4 GiB
        }
    }
}

/// Writes a string or blob, whose type byte is the first of its content. Names in expressions have none.
pub fn write_raw(out: &mut Vec<u8>, content: &[u8]) {
    write_raw_head(out, content.len());
    out.extend_from_slice(content);
}

/// Writes a string or blob behind its type byte.
pub fn write_typed(out: &mut Vec<u8>, particle: u8, content: &[u8]) {
    write_raw_head(out, content.len() + 1);
    out.push(particle);
    out.extend_from_slice(content);
}

fn write_count(out: &mut Vec<u8>, short: u8, medium: u8, count: u32) {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => {
            out.push(medium);
            out.extend_from_slice(&(count as u16).to_be_bytes());
        }
        _ => {
            out.push(medium + 1);
            out.extend_from_slice(&count.to_be_bytes());
        }
    }
}

fn checked(count: u64) -> Result<u32> {
    u32::try_from(count).map_err(|_| InvalidCollection("too many elements"))
}

/// Writes the count of a list's elements, its flag among them if it has one.
pub fn write_list_count(out: &mut Vec<u8>, count: u32) {
    write_count(out, 0x90, 0xdc, count);
}

/// Writes the head of a list of so many elements. An ordered one has its flag as a first element.
pub(crate) fn write_list_head(out: &mut Vec<u8>, count: usize, ordered: bool) -> Result<()> {
    write_list_count(out, checked(count as u64 + u64::from(ordered))?);
    if ordered {
        out.extend_from_slice(&[0xc7, 0, super::FLAG_LIST_ORDERED]);
    }
    Ok(())
}

/// Writes the head of a map of so many pairs. Flags that are not zero come as a first pair.
///
/// # Errors
/// When there are more than a head can tell.
pub fn write_map_head(out: &mut Vec<u8>, count: usize, flags: u8) -> Result<()> {
    let pairs = checked(count as u64 + u64::from(flags != 0))?;
    write_count(out, 0x80, 0xde, pairs);
    if flags != 0 {
        out.extend_from_slice(&[0xc7, 0, flags, 0xc0]);
    }
    Ok(())
}

/// Writes a double.
pub fn write_double(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}
