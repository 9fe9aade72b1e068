//! A template of any text is parsed or refused, and filled in or refused, within the limits.
#![no_main]

use image_tool::show::template::{Struct, Template, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Longer texts only repeat what shorter ones can do.
    if let Ok(template) = text.get(..text.len().min(4096)).unwrap_or_default().parse::<Template>() {
        let state = Struct::new("State").with("Status", "running").with("Pid", 42).hidden("Health", Value::NilPointer);
        let value: Value = Struct::new("Container")
            .with("Id", "0123456789abcdef")
            .with("Names", Value::list(["web", "db"]))
            .with("Labels", Value::map([("a", "1"), ("b", "")]))
            .with("State", state)
            .with("Float", 2.5)
            .into();
        let pipe = std::fs::File::open("/dev/null").expect("there is a /dev/null");
        let _ = template.inspect(&value, &pipe);
    }
});
