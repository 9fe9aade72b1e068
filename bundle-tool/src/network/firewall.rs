//! Removes what CNI's plugins leave in the kernel after the last container, or after a crash.
//!
//! Plugins remove the rules of their container but not the chains that they share, nor the bridge. These are harmless, but a container
//! should leave nothing behind. Only what is empty is removed, so that other users of CNI on this host keep what they use; plugins create
//! chains again when they need them. Failures are ignored: a user could do nothing about them.

use std::process::{Command, Stdio};

use super::subnet::Subnet;

/// The tables and shared chains, in the order in which they can be removed, and the kernel's chains that lead to them.
const SHARED: [(&str, &str, &[&str]); 4] = [
    ("nat", "CNI-HOSTPORT-DNAT", &["PREROUTING", "OUTPUT"]),
    ("nat", "CNI-HOSTPORT-MASQ", &["POSTROUTING"]),
    ("nat", "CNI-HOSTPORT-SETMARK", &[]),
    ("filter", "CNI-FORWARD", &["FORWARD"]),
];

/// The output of iptables or ip6tables; `None` if it is not installed or fails.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).arg("-w").args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Splits a rule as `iptables -S` prints it, with quoted comments, into words.
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

/// Removes the rules that name a container and the chains that only they led to, which plugins cannot do once the container's namespace
/// no longer exists.
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

/// Removes the chains that plugins share, unless they hold rules of a container.
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
    // A chain is in use if one of its rules leads to a container: to a chain of that container, or to ACCEPT. Other rules are always there.
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
        // This chain holds the administrator's rules; -X fails if there are any.
        run(program, &["-t", table, "-X", "CNI-ADMIN"]);
    }
}

/// Removes the rules by which the firewall plugin keeps other networks off a bridge, which it leaves with the last container. The chains
/// go with the last of them.
pub(super) fn remove_isolation(bridge: &str) {
    const STAGES: [&str; 2] = ["CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2"];
    for program in ["iptables", "ip6tables"] {
        let Some(rules) = run(program, &["-t", "filter", "-S"]) else { continue };
        if !rules.contains(STAGES[0]) {
            continue;
        }
        for rule in rules.lines().filter(|rule| STAGES.iter().any(|stage| rule.starts_with(&format!("-A {stage} ")))) {
            let words = words(rule);
            let names = |flag: &str| words.windows(2).any(|pair| pair[0] == flag && pair[1] == bridge);
            if names("-i") || names("-o") {
                delete(program, "filter", rule);
            }
        }
        let Some(rules) = run(program, &["-t", "filter", "-S"]) else { continue };
        // What stays in each chain of a firewall without networks is its return.
        let used = |rule: &str| {
            STAGES.iter().any(|stage| rule.starts_with(&format!("-A {stage} "))) && !rule.ends_with("-j RETURN")
        };
        if rules.lines().any(used) {
            continue;
        }
        for rule in
            rules.lines().filter(|rule| rule.starts_with("-A FORWARD ") && rule.ends_with(&format!("-j {}", STAGES[0])))
        {
            delete(program, "filter", rule);
        }
        for step in ["-F", "-X"] {
            for stage in STAGES {
                run(program, &["-t", "filter", step, stage]);
            }
        }
    }
}

/// Lets the packets of a bridge pass at the end of a chain, if that drops what none of its rules decide on.
pub(super) fn let_pass(program: &str, chain: &str, bridge: &str, comment: &str) {
    let rules = run(program, &["-S", chain]).unwrap_or_default();
    if rules.starts_with(&format!("-P {chain} DROP")) && !rules.contains(comment) {
        for direction in ["-i", "-o"] {
            run(program, &["-A", chain, direction, bridge, "-m", "comment", "--comment", comment, "-j", "ACCEPT"]);
        }
    }
}

/// Removes what [`let_pass`] has added.
pub(super) fn no_longer_let_pass(program: &str, chain: &str, comment: &str) {
    let rules = run(program, &["-S", chain]).unwrap_or_default();
    for rule in rules.lines().filter(|rule| words(rule).iter().any(|word| word == comment)) {
        delete(program, "filter", rule);
    }
}

/// Tells firewalld that these subnets are trusted, or no longer.
pub(super) fn trust(subnets: &[Subnet], add: bool) {
    let option = if add { "--add-source" } else { "--remove-source" };
    let mut command = Command::new("firewall-cmd");
    command.args(["--quiet", "--zone=trusted"]).args(subnets.iter().map(|subnet| format!("{option}={subnet}")));
    let outcome = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tracing::debug!("firewall-cmd {option}: {outcome:?}");
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
