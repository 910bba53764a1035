#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fanctl_fuzz::questions(data));
