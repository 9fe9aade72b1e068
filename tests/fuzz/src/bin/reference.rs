//! Printing an image's name in a registry and parsing it again gives an equal name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use registry_tool::reference::ImageName;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<ImageName>() {
        let again: ImageName = name.reference().to_string().parse().expect("what was parsed is valid");
        assert_eq!(again.reference(), name.reference());
    }
});
