//! The form of config.json: its fields, in the types of `oci_spec`.
//!
//! `oci_spec` reads `execCPUAffinity` with a regular expression, whose engine and Unicode tables would be a fifth of the program,
//! relocated at each start. So the two types that lead to that field are read here, field by field, and the list of CPUs is read
//! by what reads the others ([`crate::kernel::set`]).

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use libcontainer::oci_spec::runtime::{
    Box as ConsoleSize, ExecCPUAffinity, Hooks, Linux, LinuxCapabilities, LinuxIOPriority, Mount, PosixRlimit, Process,
    Root, Scheduler, Solaris, Spec, User, VM, Windows, ZOS,
};
use serde::Deserialize;
use serde_json::Value;

use crate::kernel::set;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default, rename = "ociVersion")]
    version: String,
    root: Option<Root>,
    mounts: Option<Vec<Mount>>,
    process: Option<Program>,
    hostname: Option<String>,
    domainname: Option<String>,
    hooks: Option<Hooks>,
    annotations: Option<HashMap<String, String>>,
    linux: Option<Linux>,
    solaris: Option<Solaris>,
    windows: Option<Windows>,
    vm: Option<VM>,
    zos: Option<ZOS>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    terminal: Option<bool>,
    console_size: Option<ConsoleSize>,
    user: User,
    args: Option<Vec<String>>,
    command_line: Option<String>,
    env: Option<Vec<String>>,
    cwd: PathBuf,
    capabilities: Option<LinuxCapabilities>,
    rlimits: Option<Vec<PosixRlimit>>,
    no_new_privileges: Option<bool>,
    apparmor_profile: Option<String>,
    oom_score_adj: Option<i32>,
    selinux_label: Option<String>,
    io_priority: Option<LinuxIOPriority>,
    scheduler: Option<Scheduler>,
    #[serde(rename = "execCPUAffinity")]
    exec_cpu_affinity: Option<Affinity>,
}

#[derive(Deserialize)]
struct Affinity {
    initial: Option<String>,
    #[serde(rename = "final")]
    last: Option<String>,
}

/// A whole config.json. Fields that are not in the spec are ignored.
pub(super) fn configuration(document: Value) -> Result<Spec> {
    let read: Configuration = serde_json::from_value(document)?;
    let mut spec = Spec::default();
    spec.set_version(read.version)
        .set_root(read.root)
        .set_mounts(read.mounts)
        .set_process(read.process.map(Program::process).transpose()?)
        .set_hostname(read.hostname)
        .set_domainname(read.domainname)
        .set_hooks(read.hooks)
        .set_annotations(read.annotations)
        .set_linux(read.linux)
        .set_solaris(read.solaris)
        .set_windows(read.windows)
        .set_vm(read.vm)
        .set_zos(read.zos);
    Ok(spec)
}

/// The object `process` of config.json, or the document of `exec --process`.
pub(super) fn process(document: Value) -> Result<Process> {
    serde_json::from_value::<Program>(document)?.process()
}

impl Program {
    fn process(self) -> Result<Process> {
        let mut process = Process::default();
        process
            .set_terminal(self.terminal)
            .set_console_size(self.console_size)
            .set_user(self.user)
            .set_args(self.args)
            .set_command_line(self.command_line)
            .set_env(self.env)
            .set_cwd(self.cwd)
            .set_capabilities(self.capabilities)
            .set_rlimits(self.rlimits)
            .set_no_new_privileges(self.no_new_privileges)
            .set_apparmor_profile(self.apparmor_profile)
            .set_oom_score_adj(self.oom_score_adj)
            .set_selinux_label(self.selinux_label)
            .set_io_priority(self.io_priority)
            .set_scheduler(self.scheduler)
            .set_exec_cpu_affinity(self.exec_cpu_affinity.map(Affinity::checked).transpose()?);
        Ok(process)
    }
}

impl Affinity {
    fn checked(self) -> Result<ExecCPUAffinity> {
        let check = |list: &Option<String>| set::parse(list.as_deref().unwrap_or_default()).map(drop);
        check(&self.initial).context("bad CPUAffinity.Initial")?;
        check(&self.last).context("bad CPUAffinity.Final")?;
        let mut affinity = ExecCPUAffinity::default();
        affinity.set_initial(self.initial).set_cpu_affinity_final(self.last);
        Ok(affinity)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A document in which every field of the two types has a value.
    fn whole() -> Value {
        json!({
            "ociVersion": "1.3.0",
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "process": {
                "terminal": true,
                "consoleSize": {"height": 1, "width": 2},
                "user": {"uid": 3, "gid": 4},
                "args": ["a"],
                "commandLine": "a",
                "env": ["A=b"],
                "cwd": "/",
                "capabilities": {"bounding": ["CAP_KILL"]},
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
                "noNewPrivileges": true,
                "apparmorProfile": "p",
                "oomScoreAdj": 5,
                "selinuxLabel": "l",
                "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 0},
                "scheduler": {"policy": "SCHED_OTHER"},
                "execCPUAffinity": {"initial": "0", "final": "0-1,3"}
            },
            "hostname": "h",
            "domainname": "d",
            "hooks": {"poststart": [{"path": "/bin/true"}]},
            "annotations": {"a": "b"},
            "linux": {"namespaces": [{"type": "pid"}]},
            "solaris": {"milestone": "m"},
            "windows": {"layerFolders": ["f"]},
            "vm": {"kernel": {"path": "/k"}},
            "zos": {"namespaces": [{"type": "pid"}]}
        })
    }

    #[test]
    fn the_fields_are_those_of_oci_spec() {
        let expected: Spec = serde_json::from_value(whole()).unwrap();
        assert_eq!(configuration(whole()).unwrap(), expected);
        // None that this test forgot: what oci_spec writes has the fields of the document above.
        let written = serde_json::to_value(&expected).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&whole()));
        assert_eq!(names(&written["process"]), names(&whole()["process"]));
    }

    #[test]
    fn a_missing_field_is_that_of_oci_spec() {
        let least = json!({"process": {"user": {"uid": 0, "gid": 0}, "cwd": "/"}});
        assert_eq!(configuration(least.clone()).unwrap(), serde_json::from_value(least).unwrap());
    }

    #[test]
    fn a_list_of_cpus_is_checked() {
        for wrong in ["x", "3-1", "0-"] {
            let document = json!({"user": {}, "cwd": "/", "execCPUAffinity": {"final": wrong}});
            let error = process(document).unwrap_err();
            assert!(format!("{error:#}").starts_with("bad CPUAffinity.Final"), "{error:#}");
        }
    }
}
