//! The values of `--attest`, `--provenance` and `--sbom`.

use anyhow::{Context, Result, bail};
use build_tool::build::output::{Form, Provenance};
use bundle_tool::option::csv;

/// Reads a value of `--attest`: `type=provenance,mode=max` or `type=sbom`.
pub(super) fn attest(text: &str, form: &mut Form) -> Result<()> {
    let fields = csv::fields(text).with_context(|| format!("--attest {text}"))?;
    let kind = fields.iter().find_map(|field| field.strip_prefix("type="));
    let others: Vec<&str> = fields.iter().map(String::as_str).filter(|field| !field.starts_with("type=")).collect();
    match kind {
        Some("provenance") => provenance(&others.join(","), form).with_context(|| format!("--attest {text}")),
        Some("sbom") => sbom(&others.join(","), form).with_context(|| format!("--attest {text}")),
        Some(other) => bail!("--attest {text}: type={other}: unknown type (provenance, sbom)"),
        None => bail!("--attest {text}: missing type=provenance or type=sbom"),
    }
}

/// Reads a value of `--provenance`: `true`, `false`, or fields such as `mode=max`.
pub(super) fn provenance(text: &str, form: &mut Form) -> Result<()> {
    let (mut wanted, mut disabled) = (Provenance::default(), false);
    for field in text.split(',').filter(|field| !field.is_empty()) {
        match field.split_once('=').unwrap_or((field, "")) {
            ("true" | "1", "") => disabled = false,
            ("false" | "0", "") => disabled = true,
            ("disabled", value) => disabled = flag(field, value)?,
            ("mode", "min") => wanted.everything = false,
            ("mode", "max" | "full") => wanted.everything = true,
            ("builder-id", value) => wanted.builder = Some(value.to_owned()).filter(|value| !value.is_empty()),
            ("reproducible", value) => wanted.reproducible = flag(field, value)?,
            ("version", "v1") => {}
            ("version", _) => bail!("{field}: provenance is written as SLSA v1 only (version=v1)"),
            _ => bail!("{field}: expected true, false, mode=min|max, builder-id=URL or reproducible=true"),
        }
    }
    form.provenance = (!disabled).then_some(wanted);
    Ok(())
}

fn flag(field: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => bail!("{field}: expected true or false"),
    }
}

/// Reads a value of `--sbom`: `true` or `false`.
pub(super) fn sbom(text: &str, form: &mut Form) -> Result<()> {
    form.sbom = match text {
        "" | "true" | "1" | "disabled=false" => true,
        "false" | "0" | "disabled=true" => false,
        _ => bail!("{text}: expected true or false (the packages of dpkg, apk and pip are listed)"),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_are_asked_for_in_dockers_words() {
        let some = |everything, builder: Option<&str>, reproducible| {
            Some(Provenance { everything, builder: builder.map(str::to_owned), reproducible })
        };
        for (text, expected) in [
            ("type=provenance", (some(false, None, false), false)),
            ("type=provenance,mode=max", (some(true, None, false), false)),
            ("mode=min,type=provenance,version=v1", (some(false, None, false), false)),
            (
                "type=provenance,builder-id=https://h/1,reproducible=true",
                (some(false, Some("https://h/1"), true), false),
            ),
            ("type=provenance,disabled=true", (None, false)),
            ("type=sbom", (None, true)),
        ] {
            let mut form = Form::default();
            attest(text, &mut form).unwrap();
            assert_eq!((form.provenance, form.sbom), expected, "{text}");
        }
        for text in [
            "",
            "type=x",
            "mode=max",
            "type=sbom,generator=x",
            "type=provenance,mode=most",
            "type=provenance,version=v0.2",
        ] {
            assert!(attest(text, &mut Form::default()).is_err(), "{text}");
        }
    }
}
