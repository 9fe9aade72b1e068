//! Any Dockerfile is parsed or refused with a message, and its steps lie within its lines.
#![no_main]

use build_tool::dockerfile::Dockerfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    match Dockerfile::parse("Dockerfile", bytes) {
        Ok(dockerfile) => assert!(dockerfile.steps.iter().all(|step| step.span.start <= lines)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
