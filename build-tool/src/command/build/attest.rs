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

/// Reads a value of `--provenance`: `true`, `false` or `mode=min|max`.
pub(super) fn provenance(text: &str, form: &mut Form) -> Result<()> {
    form.provenance = Some(Provenance::Min);
    for field in text.split(',').filter(|field| !field.is_empty()) {
        match field {
            "true" | "1" | "disabled=false" | "mode=min" | "version=v1" => {}
            "false" | "0" | "disabled=true" => form.provenance = None,
            "mode=max" => form.provenance = Some(Provenance::Max),
            "version=v0.2" => bail!("{field}: provenance is written as SLSA v1 only (version=v1)"),
            _ => bail!("{field}: expected true, false, mode=min or mode=max"),
        }
    }
    Ok(())
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
        for (text, expected) in [
            ("type=provenance", (Some(Provenance::Min), false)),
            ("type=provenance,mode=max", (Some(Provenance::Max), false)),
            ("mode=min,type=provenance", (Some(Provenance::Min), false)),
            ("type=provenance,disabled=true", (None, false)),
            ("type=sbom", (None, true)),
        ] {
            let mut form = Form::default();
            attest(text, &mut form).unwrap();
            assert_eq!((form.provenance, form.sbom), expected, "{text}");
        }
        for text in ["", "type=x", "mode=max", "type=sbom,generator=x", "type=provenance,mode=most"] {
            assert!(attest(text, &mut Form::default()).is_err(), "{text}");
        }
    }
}
