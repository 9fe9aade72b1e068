//! Random signals at random moments, to run-tool and to its containers. Whatever happens, nothing hangs, and `delete --force` cleans
//! up everything. The moments are random; the choices are reproducible by their seed.

use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::bundle::{Bundle, cgroups};

const ROUNDS: usize = 30;

const SIGNALS: [Signal; 8] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::KILL, Signal::STOP, Signal::USR1, Signal::WINCH];

/// A generator (xorshift64) that gives the same choices in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn pause(&mut self, limit: u64) {
        sleep(Duration::from_micros(self.below(limit)));
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// Starts a command in a process group of its own.
fn spawn(bundle: &Bundle, arguments: &[&str]) -> Child {
    let mut command: Command = bundle.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
}

/// The container's init process, if there is one yet.
fn first_process(bundle: &Bundle, id: &str) -> Option<Pid> {
    let text = fs::read(bundle.path().join("state").join(id).join("state.json")).ok()?;
    let state: Value = serde_json::from_slice(&text).ok()?;
    Pid::from_raw(i32::try_from(state["init_process_pid"].as_i64()?).ok()?)
}

/// Sends one to three signals to the command or to the container's init process. A stopped process is continued after a moment.
/// Returns whether the command was sent a SIGKILL.
fn disturb(dice: &mut Dice, bundle: &Bundle, child: &mut Child, id: &str) -> bool {
    let mut killed = false;
    for _ in 0..=dice.below(3) {
        dice.pause(15_000);
        let signal = dice.of(&SIGNALS);
        let target = if dice.below(3) > 0 { Some(pid(child)) } else { first_process(bundle, id) };
        // The command has not been waited for, so its process id is not reused yet.
        let Some(target) = target.filter(|_| child.try_wait().unwrap().is_none()) else { continue };
        killed |= target == pid(child) && signal == Signal::KILL;
        // The process may have ended meanwhile.
        let _ = rustix::process::kill_process(target, signal);
        if signal == Signal::STOP {
            dice.pause(3_000);
            let _ = rustix::process::kill_process(target, Signal::CONT);
        }
    }
    killed
}

/// Waits for a command, and panics with a description if it hangs.
fn finish(child: &mut Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "hangs: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// Everything that is left of a container: control groups, folder, mounts.
fn leftovers(bundle: &Bundle, id: &str) -> Vec<PathBuf> {
    let mut left = cgroups(id);
    left.extend(Some(bundle.path().join("state").join(id)).filter(|folder| folder.exists()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(mounts.lines().filter(|line| line.contains(bundle.path().to_str().unwrap())).map(PathBuf::from));
    left
}

fn rounds(seed: u64, programs: &[&[&str]], mut one: impl FnMut(&mut Dice, &Bundle, &str, &str) -> bool) {
    let mut dice = Dice(seed);
    let bundles: Vec<Bundle> = programs
        .iter()
        .map(|program| {
            Bundle::with(program, |config| {
                config["linux"]["seccomp"] = json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]
                });
            })
        })
        .collect();
    for round in 0..ROUNDS {
        let bundle = &bundles[dice.below(bundles.len() as u64) as usize];
        let id = format!("{}-{round}", bundle.id());
        let what = format!("round {round} of seed {seed}: {:?}", bundle.config["process"]["args"]);
        if one(&mut dice, bundle, &id, &what) {
            // run-tool itself was killed before it could clean up.
            bundle.good(&["delete", "--force", &id]);
        }
        assert_eq!(leftovers(bundle, &id), Vec::<PathBuf>::new(), "{what}");
    }
}

const PROGRAMS: [&[&str]; 4] = [
    &["true"],
    &["sleep", "100"],
    &["sh", "-c", "trap 'exit 3' TERM INT HUP QUIT USR1; while :; do sleep 0.01; done"],
    &["sh", "-c", "trap '' TERM INT HUP QUIT; sleep 100 & sleep 100"],
];

#[test]
fn a_foreground_run_survives_any_signal_and_leaves_nothing() {
    rounds(0x5eed_0001, &PROGRAMS, |dice, bundle, id, what| {
        let mut child = spawn(bundle, &["run", id]);
        let killed = disturb(dice, bundle, &mut child, id);
        while child.try_wait().unwrap().is_none() && dice.below(20) > 0 {
            sleep(Duration::from_millis(1));
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "hangs: {what}");
            // Fails as long as there is no container.
            let _ = bundle.tool(&["kill", id, "KILL"]);
            sleep(Duration::from_millis(1));
        }
        let status = finish(&mut child, what);
        // Only SIGKILL can keep it from cleaning up.
        killed && status.signal() == Some(Signal::KILL.as_raw())
    });
}

#[test]
fn delete_cleans_up_after_any_signal_to_any_command() {
    rounds(0x5eed_0002, &PROGRAMS, |dice, bundle, id, what| {
        let first: &[&str] = dice.of(&[&["create"][..], &["run", "--detach"][..]]);
        let mut child = spawn(bundle, &[first, &[id][..]].concat());
        if dice.below(2) == 0 {
            disturb(dice, bundle, &mut child, id);
        }
        finish(&mut child, what);
        if first[0] == "create" && dice.below(2) == 0 {
            let mut child = spawn(bundle, &["start", id]);
            disturb(dice, bundle, &mut child, id);
            finish(&mut child, what);
        }
        let commands: [&[&str]; 6] = [
            &["exec", id, "true"],
            &["exec", "--detach", id, "sleep", "100"],
            &["pause", id],
            &["kill", id, "TERM"],
            &["delete", "--force", id],
            &["state", id],
        ];
        let mut child = spawn(bundle, dice.of(&commands));
        disturb(dice, bundle, &mut child, id);
        finish(&mut child, what);
        true
    });
}
