//! A systemd service unit that runs a bundle.

use std::path::{Path, PathBuf};

use image_tool::address::home::Home;
use image_tool::error::During as _;
use image_tool::show::human::plain;

use crate::bundle::Bundle;
use crate::bundle::annotation;
use crate::bundle::name::is_name;
use crate::option::signal;

/// Why a unit cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The runtime is not in $PATH.
    #[error("{0}: not found in $PATH (choose a runtime with --runtime)")]
    NoProgram(&'static str),
    /// The bundle's folder has a name that a container cannot have.
    #[error("{0:?} is not a valid container name (rename the bundle's folder)")]
    Name(String),
    /// A path has characters that a unit cannot hold.
    #[error("{0:?}: a systemd unit cannot hold this path")]
    Path(PathBuf),
    /// An operation that the kernel refused.
    #[error(transparent)]
    Io(#[from] image_tool::error::Io),
}

/// The text of the unit; `runtime` is run-tool from $PATH if absent.
pub fn write(home: &Home, bundle: &Bundle, runtime: Option<&Path>) -> Result<String, Error> {
    let absolute = |path: &Path| std::path::absolute(path).during("find", path);
    let runtime = match runtime {
        Some(path) => absolute(path)?,
        None => in_path("run-tool").ok_or(Error::NoProgram("run-tool"))?,
    };
    let own = std::env::current_exe().during("find", "/proc/self/exe")?;
    let (name, id) = (bundle.name(), bundle.runtime_id());
    if !is_name(&name) {
        return Err(Error::Name(name));
    }
    let (runtime, own, path, home) =
        (quote(&runtime)?, quote(&own)?, quote(&absolute(bundle.path())?)?, quote(&absolute(home.path())?)?);
    let signal = bundle.annotation(annotation::STOP_SIGNAL).and_then(signal::number).unwrap_or(15);
    // The status of a program that the signal has ended: a unit that was stopped has not failed.
    let stopped = 128 + signal;
    let restart = match bundle
        .annotation(annotation::RESTART)
        .map(|policy| policy.split_once(':').unwrap_or((policy, "")))
    {
        // The end by the stop signal, a success for systemd (below), is none for docker.
        Some(("on-failure", "")) => format!("Restart=on-failure\nRestartForceExitStatus={stopped}\n"),
        // systemd counts starts, including the first.
        Some(("on-failure", count)) => {
            let starts = count.parse::<u32>().unwrap_or(0).saturating_add(1);
            format!(
                "Restart=on-failure\nRestartForceExitStatus={stopped}\nStartLimitBurst={starts}\nStartLimitIntervalSec=infinity\n"
            )
        }
        Some(("always" | "unless-stopped", _)) => "Restart=always\nRestartSec=100ms\n".to_owned(),
        _ => "Restart=no\n".to_owned(),
    };
    let (limits, restart): (Vec<&str>, Vec<&str>) = restart.lines().partition(|line| line.starts_with("StartLimit"));
    let limits: String = limits.iter().map(|line| format!("{line}\n")).collect();
    let restart: String = restart.iter().map(|line| format!("{line}\n")).collect();
    let timeout = match bundle.annotation(annotation::STOP_TIMEOUT).and_then(|text| text.parse::<i64>().ok()) {
        Some(-1) => "infinity".to_owned(),
        Some(seconds) => seconds.max(0).to_string(),
        None => "10".to_owned(),
    };
    let image = bundle.annotation(annotation::IMAGE).unwrap_or_default();
    // The systemd of a user has other targets.
    let (network, target) = if rustix::process::geteuid().is_root() {
        ("After=network-online.target\nWants=network-online.target\n", "multi-user.target")
    } else {
        ("", "default.target")
    };
    Ok(format!(
        "[Unit]\n\
         Description=container {name} ({image})\n\
         {network}\
         {limits}\n\
         [Service]\n\
         Type=exec\n\
         Environment=OCI_HOME={home}\n\
         ExecStartPre=-{runtime} delete --force {id}\n\
         ExecStartPre={own} mount {path}\n\
         ExecStart={runtime} run --bundle {path} {id}\n\
         ExecStopPost=-{runtime} delete --force {id}\n\
         KillMode=mixed\n\
         KillSignal={signal}\n\
         SuccessExitStatus={stopped}\n\
         TimeoutStopSec={timeout}\n\
         {restart}\
         Delegate=yes\n\
         \n\
         [Install]\n\
         WantedBy={target}\n",
        // A line feed would begin another setting.
        image = plain(&image.replace('%', "")),
    ))
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_absolute() && path.is_file())
}

/// Quotes a path for a unit (systemd.service(5), "Command lines"), where `%` and `$` are special and blanks separate words.
fn quote(path: &Path) -> Result<String, Error> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| Error::Path(path.into()))?;
    let text = text.replace('\\', "\\\\").replace('%', "%%").replace('$', "$$").replace('"', "\\\"");
    Ok(if text.contains(char::is_whitespace) || text.contains(['\'', '"', ';']) { format!("\"{text}\"") } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_unit_has_the_bundles_policy_and_signals() {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({"annotations": {
            "org.oci-tools.name": "web", "org.oci-tools.restart": "on-failure:3", "org.oci-tools.stop-signal": "SIGQUIT", "org.oci-tools.stop-timeout": "30",
        }});
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let bundle = Bundle::open(folder.path()).unwrap();
        let text = write(&Home::from_environment(), &bundle, Some(Path::new("/opt/my runtime/run-tool"))).unwrap();
        for line in [
            "StartLimitBurst=4",
            "Restart=on-failure",
            "KillSignal=3",
            "SuccessExitStatus=131",
            "RestartForceExitStatus=131",
            "TimeoutStopSec=30",
            &format!("ExecStart=\"/opt/my runtime/run-tool\" run --bundle {} web", folder.path().display()),
        ] {
            assert!(text.lines().any(|each| each == line), "{line}: {text}");
        }
    }

    #[test]
    fn paths_are_quoted_as_systemd_reads_them() {
        assert_eq!(quote(Path::new("/a")).unwrap(), "/a");
        assert_eq!(quote(Path::new("/a b%$\"")).unwrap(), "\"/a b%%$$\\\"\"");
        assert!(quote(Path::new("/a\nExecStart=/bin/evil")).is_err());
    }
}
