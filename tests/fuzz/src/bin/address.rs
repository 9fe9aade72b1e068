//! Printing an address and parsing it again gives an equal address.
#![no_main]

use image_tool::address::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        let printed = address.to_string();
        assert_eq!(printed.parse::<Address>().as_ref(), Ok(&address), "{printed:?}");
    }
});
