//! Any signature and any key of GnuPG's is read or refused; none is good for nobody's keys, and a payload that was read is written alike.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_tool::trust::keyring::Keyring;
use registry_tool::trust::payload::{Kind, Payload};

fuzz_target!(|bytes: &[u8]| {
    assert!(Keyring::default().check(bytes, "sha256:0").is_err(), "nobody signed it");
    let mut keyring = Keyring::default();
    if keyring.add(bytes).is_ok() {
        let _ = keyring.check(bytes, "sha256:0");
    }
    for kind in [Kind::Cosign, Kind::Atomic] {
        if let Ok(payload) = Payload::parse(kind, bytes) {
            assert_eq!(Payload::parse(kind, &payload.bytes()), Ok(payload));
        }
    }
});
