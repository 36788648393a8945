//! See `karst_fuzz::info`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::info::check(bytes));
