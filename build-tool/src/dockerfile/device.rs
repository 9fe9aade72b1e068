//! `RUN --device=…`: a device of the host that one command asks for, by its CDI name.

use std::fmt;

use bundle_tool::option::csv;

use super::near::near;

/// One device of a RUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// `VENDOR/CLASS=NAME`, `VENDOR/CLASS=*`, `VENDOR/CLASS` for the first of them, or the name of a class that
    /// descriptions mark devices with.
    pub name: String,
    /// Whether the step fails if this host has no such device.
    pub required: bool,
}

/// A device that cannot be parsed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDevice(String);

impl fmt::Display for BadDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadDevice {}

/// Parses the value of `--device`: `NAME[,required]` or `name=NAME[,required=true]`.
pub fn parse(text: &str) -> Result<Device, BadDevice> {
    let mut device = Device { name: String::new(), required: false };
    for field in csv::fields(text).map_err(|error| BadDevice(error.to_string()))? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(BadDevice(format!("it has a name already, {}", device.name)));
            }
            ("name", Some(name)) => name.clone_into(&mut device.name),
            ("required", None | Some("true" | "1")) => device.required = true,
            ("required", Some("false" | "0")) => device.required = false,
            ("required", Some(value)) => {
                return Err(BadDevice(format!("required={value} is neither true nor false")));
            }
            // A CDI name holds an equals sign itself.
            _ if device.name.is_empty() => device.name = field,
            _ => {
                let hint = near(&key, ["name", "required"]).map(|near| format!(" (did you mean {near}?)"));
                return Err(BadDevice(format!("unknown key {key:?}{}", hint.unwrap_or_default())));
            }
        }
    }
    if device.name.is_empty() { Err(BadDevice("missing name".to_owned())) } else { Ok(device) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_buildkit_reads_them() {
        for (text, name, required) in [
            ("vendor.com/class=a", "vendor.com/class=a", false),
            ("vendor.com/class=*,required", "vendor.com/class=*", true),
            ("name=vendor.com/class,required=false", "vendor.com/class", false),
            ("required,gpu", "gpu", true),
        ] {
            assert_eq!(parse(text), Ok(Device { name: name.into(), required }), "{text}");
        }
        for (text, expected) in [
            ("", "missing name"),
            ("required", "missing name"),
            ("a,requierd=1", "unknown key \"requierd\" (did you mean required?)"),
            ("a,name=b", "it has a name already, a"),
            ("a,required=x", "required=x is neither true nor false"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
        }
    }
}
