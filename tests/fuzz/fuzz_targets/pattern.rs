//! See `karst_fuzz::pattern`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::pattern::check(bytes));
