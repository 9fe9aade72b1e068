//! What CNI's plugins leave in the kernel when the last container is gone, and what a crash leaves.
//!
//! Plugins remove the rules of their container but not the chains that they share, nor the bridge. None of it matters to the host,
//! but who looks for what a container left should find nothing. Only what is empty is removed, so other users of CNI on this host keep
//! what they use; they make the chains again when they need them. Failures are not told: this is tidying up, and iptables says nothing
//! that a user could act on.

use std::path::Path;
use std::process::{Command, Stdio};

/// Rules that lead from the kernel's chains to a shared one, and the shared chains, in the order in which they can go.
const SHARED: [(&str, &str, &[&str]); 4] = [
    ("nat", "CNI-HOSTPORT-DNAT", &["PREROUTING", "OUTPUT"]),
    ("nat", "CNI-HOSTPORT-MASQ", &["POSTROUTING"]),
    ("nat", "CNI-HOSTPORT-SETMARK", &[]),
    ("filter", "CNI-FORWARD", &["FORWARD"]),
];

/// A run of iptables or ip6tables; `None` if it is not installed or fails.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).arg("-w").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The words of a rule as `iptables -S` prints it, which quotes comments.
fn words(rule: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for char in rule.chars() {
        let word = words.last_mut().expect("there is one from the start");
        match char {
            _ if escaped => {
                word.push(char);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            char => word.push(char),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Deletes a rule that `iptables -S` printed.
fn delete(program: &str, table: &str, rule: &str) {
    let mut words = words(rule);
    if words.first().is_some_and(|word| word == "-A") {
        words[0] = "-D".into();
        let mut arguments = vec!["-t", table];
        arguments.extend(words.iter().map(String::as_str));
        run(program, &arguments);
    }
}

/// Removes every rule that names a container, with the chains that only it led to: what plugins cannot remove any more when the
/// container's namespace is gone.
pub(super) fn forget(id: &str) {
    for program in ["iptables", "ip6tables"] {
        for table in ["nat", "filter"] {
            let Some(rules) = run(program, &["-t", table, "-S"]) else { continue };
            let mut chains = Vec::new();
            for rule in rules.lines().filter(|rule| rule.contains(id)) {
                let words = words(rule);
                let target = words.iter().position(|word| word == "-j").and_then(|at| words.get(at + 1));
                chains.extend(
                    target.filter(|chain| chain.starts_with("CNI-") && !chain.starts_with("CNI-HOSTPORT")).cloned(),
                );
                delete(program, table, rule);
            }
            for chain in chains {
                run(program, &["-t", table, "-F", &chain]);
                run(program, &["-t", table, "-X", &chain]);
            }
        }
    }
}

/// Removes the chains that plugins share, where no container's rule is in them.
pub(super) fn remove_empty_chains() {
    for program in ["iptables", "ip6tables"] {
        for table in ["nat", "filter"] {
            let Some(rules) = run(program, &["-t", table, "-S"]) else { continue };
            for (_, chain, from) in SHARED.iter().filter(|(of, ..)| *of == table) {
                remove_empty_chain(program, table, chain, from, &rules);
            }
        }
    }
}

fn remove_empty_chain(program: &str, table: &str, chain: &str, from: &[&str], rules: &str) {
    if !rules.lines().any(|rule| rule == format!("-N {chain}")) {
        return;
    }
    // A chain is in use if a rule in it leads to a container: to a chain of its own, or to be accepted. The rest is the same
    // whoever uses it.
    let used = rules.lines().any(|rule| {
        rule.starts_with(&format!("-A {chain} "))
            && (rule.contains("CNI-DN-") || rule.contains("-j ACCEPT") || rule.contains("-j RETURN"))
    });
    let others = rules.lines().any(|rule| rule.starts_with("-A CNI-DN-"));
    if used || others {
        return;
    }
    for rule in rules.lines().filter(|rule| {
        from.iter().any(|each| rule.starts_with(&format!("-A {each} "))) && rule.ends_with(&format!("-j {chain}"))
    }) {
        delete(program, table, rule);
    }
    run(program, &["-t", table, "-F", chain]);
    run(program, &["-t", table, "-X", chain]);
    if chain == "CNI-FORWARD" {
        // The administrator's own rules go here; -X leaves a chain that has any.
        run(program, &["-t", table, "-X", "CNI-ADMIN"]);
    }
}

/// Removes a bridge that nothing is connected to.
pub(super) fn remove_bridge(name: &str) {
    let ports = Path::new("/sys/class/net").join(name).join("brif");
    if std::fs::read_dir(ports).is_ok_and(|mut ports| ports.next().is_none()) {
        let removed = Command::new("ip")
            .args(["link", "delete", name, "type", "bridge"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        tracing::debug!("ip link delete {name}: {removed:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_split_as_iptables_quoted_it() {
        let rule = r#"-A POSTROUTING -s 10.63.0.2/32 -m comment --comment "name: \"bridge\" id: \"abc\"" -j CNI-1"#;
        let expected = [
            "-A",
            "POSTROUTING",
            "-s",
            "10.63.0.2/32",
            "-m",
            "comment",
            "--comment",
            "name: \"bridge\" id: \"abc\"",
            "-j",
            "CNI-1",
        ];
        assert_eq!(words(rule), expected);
    }
}
