#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| orlop_fuzz::targets::patch_json(data));
