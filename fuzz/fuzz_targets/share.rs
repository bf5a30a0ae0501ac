#![no_main]

libfuzzer_sys::fuzz_target!(|program: &[u8]| hull_devices::hostile::share(program));
