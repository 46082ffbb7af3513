#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| watchpost_fuzz::check("docker_list", bytes));
