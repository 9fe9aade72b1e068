//! The manual page of oci-docker, made of docker's own descriptions.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::table::Usage;
use super::{name, table};

/// Writes oci-docker.1 into a folder.
pub(crate) fn write(folder: &Path) -> Result<(), (PathBuf, io::Error)> {
    let path = folder.join("oci-docker.1");
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, page())).map_err(|error| (path, error))
}

fn page() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH oci-docker 1 \"\" \"oci-docker {version}\"\n");
    page += ".SH NAME\noci\\-docker \\- the docker command, composed of five tools and without a daemon\n";
    page += ".SH SYNOPSIS\n.B oci\\-docker\n[OPTIONS] COMMAND [ARGUMENT]...\n.SH DESCRIPTION\n";
    page += "Reads docker's command line and carries it out with image\\-tool, registry\\-tool, bundle\\-tool, run\\-tool and build\\-tool. Images are in an \
             OCI layout, containers are bundles below $OCI_HOME. Below are docker's own descriptions of its commands, by which the command line is read.\n";
    page += "Commands that need a daemon are refused:\n";
    for (command, why) in name::IMPOSSIBLE {
        // Writing to a String cannot fail.
        let _ = write!(page, ".TP\n.B {command}\n{}\n", escaped(why));
    }
    page += ".SH OPTIONS\n.nf\n";
    let of_docker = Usage::find("").map(|usage| usage.help("")).unwrap_or_default();
    for option in of_docker.lines().skip_while(|line| *line != "Options:").skip(1).take_while(|line| !line.is_empty()) {
        page += &escaped(&format!("{option}\n"));
    }
    page += ".fi\n.SH COMMANDS\n";
    for usage in table::all().filter(|usage| !usage.path.is_empty() && !usage.is_group()) {
        let _ = write!(page, ".SS docker {}\n.nf\n{}.fi\n", usage.path, escaped(&body(&usage)));
    }
    page += ".SH EXIT STATUS\n.TP\n.B 125\nThe command line is wrong, or a container could not be made.\n.TP\n.B 126\nThe program could not be \
             executed.\n.TP\n.B 127\nThe program does not exist.\n.TP\n.B N\nThe program's own status; 128 + N if signal N killed it.\n";
    page += ".SH ENVIRONMENT\n.TP\n.B OCI_HOME, OCI_LAYOUT\nWhere images, containers and volumes are.\n.TP\n.B RUN_TOOL_ROOT\nThe folder for the state of \
             containers.\n.TP\n.B DOCKER_CONFIG\nThe folder with docker's config.json.\n";
    page += ".SH SEE ALSO\n\\fBbuild\\-tool\\fR(1), \\fBbundle\\-tool\\fR(1), \\fBdocker\\fR(1), \\fBimage\\-tool\\fR(1), \\fBregistry\\-tool\\fR(1), \\fBrun\\-tool\\fR(1)\n";
    page
}

fn body(usage: &Usage) -> String {
    let help = usage.help(usage.path);
    help.trim_start().to_owned()
}

/// Text in which roff sees no request and no escape.
fn escaped(text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        if line.starts_with(['.', '\'']) { format!("\\&{line}\n") } else { line + "\n" }
    };
    let escaped: String = text.lines().map(line).collect();
    if text.ends_with('\n') { escaped } else { escaped.trim_end_matches('\n').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command() {
        let page = page();
        for command in ["run", "exec", "container prune", "buildx build"] {
            assert!(page.contains(&format!(".SS docker {command}\n")), "{command}");
        }
        assert!(page.contains("\\-\\-sig\\-proxy"));
        assert_eq!(escaped(".a\n'b\\c-d\n"), "\\&.a\n\\&'b\\ec\\-d\n");
    }
}
