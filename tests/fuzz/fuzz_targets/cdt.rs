//! See `karst_fuzz::cdt`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::cdt::check(bytes));
