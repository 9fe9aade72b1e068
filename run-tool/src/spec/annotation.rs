//! Annotations of config.json: those of crun (crun(1), "Extensions to OCI") that podman and its kind set for any runtime.

use anyhow::{Result, bail};
use libcontainer::oci_spec::runtime::Spec;

/// Unless it is `0`, programs keep the supplementary groups of run-tool's caller. `podman run --group-add keep-groups` sets it.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// The file that the standard output of hooks is appended to.
pub(crate) const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// The file that the standard error of hooks is appended to.
pub(crate) const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// The mount option that gets `linux.mountLabel`, one of [`CONTEXTS`].
const MOUNT_CONTEXT: &str = "run.oci.mount_context_type";
/// If it is there, a seccomp profile must not name system calls that libseccomp does not know.
pub(crate) const FAIL_UNKNOWN_CALL: &str = "run.oci.seccomp_fail_unknown_syscall";

/// SELinux's mount options (mount(8)); the first is the default.
const CONTEXTS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// The value of an annotation.
pub(crate) fn of<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations().as_ref().and_then(|all| all.get(name)).map(String::as_str)
}

/// Whether programs keep the caller's groups, by the value of [`KEEP_GROUPS`].
pub(crate) fn keeps_groups(value: Option<&str>) -> bool {
    value.is_some_and(|value| value != "0")
}

/// The mount option for `linux.mountLabel`, such as `context="LABEL"`; empty if there is no label.
///
/// # Errors
/// The annotation names no such option.
pub(crate) fn mount_context(spec: &Spec) -> Result<String> {
    let option = of(spec, MOUNT_CONTEXT).unwrap_or(CONTEXTS[0]);
    if !CONTEXTS.contains(&option) {
        bail!("annotation {MOUNT_CONTEXT}: {option:?} is not a context type (use one of {})", CONTEXTS.join(", "));
    }
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref()).unwrap_or_default();
    Ok(if label.is_empty() { String::new() } else { format!("{option}=\"{label}\"") })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use libcontainer::oci_spec::runtime::Linux;

    use super::*;

    fn context(kind: Option<&str>, label: Option<&str>) -> Result<String> {
        let mut linux = Linux::default();
        linux.set_mount_label(label.map(str::to_owned));
        let mut spec = Spec::default();
        spec.set_linux(Some(linux));
        spec.set_annotations(kind.map(|kind| HashMap::from([(MOUNT_CONTEXT.to_owned(), kind.to_owned())])));
        mount_context(&spec)
    }

    #[test]
    fn a_mount_label_gets_the_annotated_option() {
        assert_eq!(context(None, Some("u:r:t:s0:c1,c2")).unwrap(), "context=\"u:r:t:s0:c1,c2\"");
        assert_eq!(context(Some("rootcontext"), Some("u:r:t:s0")).unwrap(), "rootcontext=\"u:r:t:s0\"");
        assert_eq!(context(Some("fscontext"), None).unwrap(), "");
        let error = context(Some("size"), Some("u:r:t:s0")).unwrap_err().to_string();
        assert!(error.contains("\"size\" is not a context type (use one of context, fscontext"), "{error}");
    }

    #[test]
    fn zero_does_not_keep_groups() {
        assert_eq!([None, Some("0"), Some("1"), Some("")].map(keeps_groups), [false, false, true, true]);
    }
}
