//! Where a container's output is kept: `--log-driver` and `--log-opt`, checked before a runtime reads them.

use std::collections::BTreeMap;

use super::Refused;
use super::quantity::Size;

type Check = fn(&str) -> Result<(), &'static str>;

fn size(value: &str) -> Result<(), &'static str> {
    value.parse::<Size>().map(drop).map_err(|_| "not a valid size (such as 10m)")
}

fn files(value: &str) -> Result<(), &'static str> {
    value.parse::<u32>().ok().filter(|count| *count > 0).map(drop).ok_or("not a number of files (at least 1)")
}

fn mode(value: &str) -> Result<(), &'static str> {
    if ["blocking", "non-blocking"].contains(&value) { Ok(()) } else { Err("not blocking or non-blocking") }
}

fn text(value: &str) -> Result<(), &'static str> {
    if value.contains("{{") { Err("templates are not supported (write the text itself)") } else { Ok(()) }
}

/// The options of files with rotation.
const FILE: &[(&str, Check)] = &[
    ("max-file", files),
    ("max-size", size),
    ("path", |_| Ok(())),
    ("labels", |_| Ok(())),
    ("env", |_| Ok(())),
    ("tag", text),
];

/// The drivers and their options.
const DRIVERS: [(&str, &[(&str, Check)]); 4] =
    [("none", &[]), ("json-file", FILE), ("local", FILE), ("journald", &[("tag", text)])];

/// The options of all drivers that keep something. No driver here keeps a container waiting, whatever its mode.
const ALL: [(&str, Check); 2] = [("mode", mode), ("max-buffer-size", size)];

/// The driver and its options as a runtime gets them; the driver is absent for the runtime's own default.
///
/// `local`, docker's own format, is kept as `json-file` with the rotation that docker gives it: 5 files of 20 MiB.
pub fn settings(
    driver: Option<&str>,
    mut options: BTreeMap<String, String>,
) -> Result<(Option<String>, BTreeMap<String, String>), Refused> {
    let name = driver.unwrap_or("json-file");
    let Some((_, known)) = DRIVERS.iter().find(|(known, _)| *known == name) else {
        let reason = format!("{name:?} is not supported (none, json-file, local and journald are)");
        return Err(Refused::new("--log-driver", reason));
    };
    for (key, value) in &options {
        let refused = |reason: String| Refused::new("--log-opt", reason);
        let common: &[_] = if known.is_empty() { &[] } else { &ALL };
        let (_, check) = known
            .iter()
            .chain(common)
            .find(|(known, _)| known == key)
            .ok_or_else(|| refused(format!("unknown log opt '{key}' for {name} log driver")))?;
        check(value).map_err(|reason| refused(format!("{key}={value}: {reason}")))?;
    }
    if options.contains_key("max-buffer-size") && options.get("mode").is_none_or(|mode| mode != "non-blocking") {
        return Err(Refused::new("--log-opt", "max-buffer-size option is only supported with 'mode=non-blocking'"));
    }
    if name != "local" {
        return Ok((driver.map(str::to_owned), options));
    }
    for (key, value) in [("max-file", "5"), ("max-size", "20m")] {
        options.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    Ok((Some("json-file".to_owned()), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(driver: Option<&str>, options: &[(&str, &str)]) -> Result<(Option<String>, String), String> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (driver, options) = settings(driver, options).map_err(|error| error.to_string())?;
        let options: Vec<String> = options.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok((driver, options.join(",")))
    }

    #[test]
    fn what_a_runtime_would_refuse_later_is_refused_now() {
        assert_eq!(read(None, &[]), Ok((None, String::new())));
        assert_eq!(read(None, &[("max-size", "1m")]), Ok((None, "max-size=1m".into())));
        let attributes =
            [("mode", "non-blocking"), ("max-buffer-size", "1m"), ("labels", "a"), ("env", "B"), ("tag", "x")];
        assert!(read(Some("json-file"), &attributes).is_ok() && read(Some("journald"), &attributes[..2]).is_ok());
        let local = Ok((Some("json-file".into()), "max-file=2,max-size=20m".into()));
        assert_eq!(read(Some("local"), &[("max-file", "2")]), local);
        for (driver, key, value, reason) in [
            ("fluentd", "a", "b", "--log-driver: \"fluentd\" is not supported"),
            ("json-file", "nosuch", "1", "--log-opt: unknown log opt 'nosuch' for json-file log driver"),
            ("json-file", "max-size", "abc", "--log-opt: max-size=abc: not a valid size"),
            ("json-file", "max-file", "0", "--log-opt: max-file=0: not a number of files"),
            ("journald", "max-file", "1", "--log-opt: unknown log opt 'max-file' for journald log driver"),
            ("journald", "tag", "{{.ID}}", "--log-opt: tag={{.ID}}: templates are not supported"),
            ("json-file", "mode", "x", "--log-opt: mode=x: not blocking or non-blocking"),
            ("json-file", "max-buffer-size", "1m", "--log-opt: max-buffer-size option is only supported"),
            ("none", "mode", "blocking", "--log-opt: unknown log opt 'mode' for none log driver"),
            ("none", "max-file", "1", "--log-opt: unknown log opt 'max-file' for none log driver"),
        ] {
            let message = read(Some(driver), &[(key, value)]).unwrap_err();
            assert!(message.starts_with(reason), "{message}");
        }
    }
}
