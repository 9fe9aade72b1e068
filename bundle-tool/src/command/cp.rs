use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use bundle_tool::container::copy::{self, Options, Side};
use bundle_tool::journal;
use clap::ValueHint;
use image_tool::address::home::Home;
use image_tool::program::caller::caller;
use image_tool::program::dockers;
use image_tool::program::pipe::stdout_error;

use super::About as _;

/// Copy files between a container and this host, as docker cp does.
///
/// A folder is copied with what is in it, and `FOLDER/.` is its content alone. With - as the source, a tar archive is read from standard input
/// and unpacked into a folder of the container; with - as the destination one is written to standard output. The container may run or not.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  bundle-tool cp web:/etc/nginx conf
  bundle-tool cp page.html web:/srv/
  tar c site | bundle-tool cp - web:/srv")]
pub(crate) struct Cp {
    /// Keep the owners of files that are copied to this host; else they belong to the caller. In a container files keep their owners, as
    /// with docker, unless the caller is not root.
    #[arg(short, long)]
    archive: bool,
    /// Follow the source if it is a symbolic link.
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// CONTAINER:PATH, a path of this host, or -.
    #[arg(value_hint = ValueHint::AnyPath)]
    source: PathBuf,
    /// CONTAINER:PATH, a path of this host, or -.
    #[arg(value_hint = ValueHint::AnyPath)]
    destination: PathBuf,
}

/// The container and the path in it, if an operand names one. A path that begins with a slash or a dot is this host's.
fn of_container(operand: &Path) -> Option<(&str, &Path)> {
    let text = operand.to_str()?;
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':').map(|(container, path)| (container, Path::new(path)))
}

/// What docker says of an operand with which nothing can be copied.
fn words(result: &Result<(), copy::Error>, source: &Path, destination: &Path) -> Option<String> {
    match (result, of_container(source), of_container(destination)) {
        (Err(copy::Error::NoSource(_)), Some(_), _) => Some(format!("No such container:path: {}", source.display())),
        (Err(copy::Error::NoSource(_)), ..) => Some(format!("lstat {}: no such file or directory", source.display())),
        (Err(copy::Error::NoFolder(_)), _, Some((name, path))) => {
            let folder = path.parent().unwrap_or(path);
            Some(format!("No such container:path: {name}:{}", folder.display()))
        }
        (Err(copy::Error::NotMade(_)), ..) => Some("no such directory".into()),
        (Err(copy::Error::NotAFolder(_)), ..) => Some("cannot copy directory".into()),
        (Err(copy::Error::ReadOnly { what, .. }), ..) => Some(dockers::daemon(&format!("{what} is marked read-only"))),
        _ => None,
    }
}

impl Cp {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let home = Home::from_environment();
        let options = Options { archive: self.archive, follow: self.follow_link };
        let side = |(container, path): (&str, &Path)| -> anyhow::Result<Side> {
            if path.as_os_str().is_empty() {
                bail!("{container}: missing path (CONTAINER:PATH)");
            }
            let bundle = super::bundle(container).map_err(|error| match caller() {
                Some(_) => anyhow!("No such container:path: {container}:{}", path.display()),
                None => error,
            })?;
            Ok(Side::container(&home, &bundle, path)?)
        };
        let record = |container: &str, action: &str| {
            if let Ok(bundle) = super::bundle(container) {
                journal::record_bundle(&home, action, &bundle, &bundle.name(), &[]);
            }
        };
        let told = |result, subject: String| match words(&result, &self.source, &self.destination) {
            Some(said) if caller().is_some() => Err(anyhow!(said)),
            _ => result.about(subject),
        };
        let (source, destination) = (of_container(&self.source), of_container(&self.destination));
        match (source, destination) {
            (Some(_), Some(_)) => bail!("copying between containers is not supported"),
            (None, None) => bail!("must specify at least one container source"),
            (Some(from), None) if self.destination == Path::new("-") => {
                if io::stdout().is_terminal() {
                    bail!("an archive is not written to a terminal (redirect it)");
                }
                match copy::write(&side(from)?, io::stdout().lock(), options) {
                    Err(copy::Error::Write(error)) => Err(stdout_error(error)).context("standard output")?,
                    result => told(result, from.0.to_owned())?,
                }
            }
            (Some(from), None) => {
                let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                told(copy::copy(&side(from)?, &Side::host(&self.destination)?, own, options), from.0.to_owned())?;
            }
            (None, Some(to)) if self.source == Path::new("-") => {
                told(copy::read(&side(to)?, io::stdin().lock()), to.0.to_owned())?;
            }
            (None, Some(to)) => {
                // Not what docker's manual says, but what docker does.
                let options = Options { archive: options.archive || rustix::process::geteuid().is_root(), ..options };
                let copied = copy::copy(&Side::host(&self.source)?, &side(to)?, (0, 0), options);
                told(copied, self.source.display().to_string())?;
            }
        }
        if let Some((container, _)) = source {
            record(container, "archive-path");
        }
        if let Some((container, _)) = destination {
            record(container, "extract-to-dir");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_stands_before_a_colon_unless_the_path_is_this_hosts() {
        let read =
            |text: &'static str| of_container(Path::new(text)).map(|(name, path)| (name, path.to_str().unwrap()));
        assert_eq!(read("web:/etc"), Some(("web", "/etc")));
        assert_eq!(read("web:a:b"), Some(("web", "a:b")));
        for text in ["/a:b", "./a:b", "../a:b", "a", "-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
