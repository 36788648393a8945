//! See `karst_fuzz::call`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| karst_fuzz::call::check(bytes));
