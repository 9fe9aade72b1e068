//! The names in a seccomp profile: actions, architectures, operators and flags.

use anyhow::{Result, bail};
use libcontainer::oci_spec::runtime::{Arch, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};
use serde::de::DeserializeOwned;
use serde::de::value::{Error as Unknown, StrDeserializer};
use serde_json::{Value, json};

/// Fills in what Go's decoder leaves at zero: the names of a rule, the number and the values of an argument.
pub(crate) fn complete(profile: &mut Value) {
    let calls = profile.get_mut("syscalls").and_then(Value::as_array_mut).into_iter().flatten();
    for call in calls.filter_map(Value::as_object_mut) {
        call.entry("names").or_insert_with(|| json!([]));
        let arguments = call.get_mut("args").and_then(Value::as_array_mut).into_iter().flatten();
        for argument in arguments.filter_map(Value::as_object_mut) {
            argument.entry("index").or_insert_with(|| json!(0));
            argument.entry("value").or_insert_with(|| json!(0));
        }
    }
}

/// Refuses unknown names in a profile, in runc's words.
pub(crate) fn check_names(profile: &Value) -> Result<()> {
    fn check<T: DeserializeOwned>(name: Option<&Value>, wrong: impl FnOnce(&str) -> String) -> Result<()> {
        // A value of another type is refused elsewhere.
        let Some(text) = name.map_or(Some(""), Value::as_str) else { return Ok(()) };
        match T::deserialize(StrDeserializer::<Unknown>::new(text)) {
            Ok(_) => Ok(()),
            Err(_) => bail!(wrong(text)),
        }
    }
    fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
        value.get(key).and_then(Value::as_array).into_iter().flatten()
    }
    let of = |kind: &'static str| move |text: &str| format!("string {text} is not a valid {kind} for seccomp");
    for flag in list(profile, "flags") {
        check::<LinuxSeccompFilterFlag>(Some(flag), |text| format!("seccomp flag {text} is not known to runc"))?;
    }
    for arch in list(profile, "architectures") {
        check::<Arch>(Some(arch), of("arch"))?;
    }
    check::<LinuxSeccompAction>(profile.get("defaultAction"), of("action"))?;
    for call in list(profile, "syscalls") {
        check::<LinuxSeccompAction>(call.get("action"), of("action"))?;
        for argument in list(call, "args") {
            check::<LinuxSeccompOperator>(argument.get("op"), of("operator"))?;
        }
    }
    Ok(())
}
