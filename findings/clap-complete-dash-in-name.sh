#!/bin/bash
# clap_complete 4.6.11 (with clap 4.6.9): in bash, a program with a dash in its name completes no option of a subcommand.
#
# The script that it generates walks the words of the command line and notes the subcommand in a variable:
#     my__tool,sub)
#         cmd="my__tool__subcmd__sub"
# Then it looks up what the subcommand takes, under a name in which the dash became something else:
#     my__subcmd__tool__subcmd__sub)
# The two never meet, so nothing is offered. The program's own options are: there both say `my__tool`. Without a dash in the
# name, all is offered. The same words written the same way on both sides would mend the script. clap knows it as its issues
# 6386 and 6421, both open when this was written.
#
# Seen:
#     my-tool sub --<TAB>: nothing
#     mytool sub --<TAB>: --colour --help
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'END'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
clap = { version = "=4.6.9", features = ["string"] }
clap_complete = "=4.6.11"

[workspace]
END
cat >"$folder/src/main.rs" <<'END'
use clap::{Arg, Command};

fn main() {
    let name = std::env::args().nth(1).expect("the program's name");
    let mut program = Command::new(name.clone()).subcommand(Command::new("sub").arg(Arg::new("colour").long("colour")));
    clap_complete::generate(clap_complete::Shell::Bash, &mut program, name, &mut std::io::stdout());
}
END
cargo build --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target" >&2

# What bash offers for `PROGRAM sub --<TAB>`, on one line.
completions() {
    "$folder/target/debug/finding" "$1" >"$folder/$1.bash"
    bash -c '
        source "$1"
        COMP_WORDS=("$2" sub --) COMP_CWORD=2
        "$3" "$2" -- sub
        echo "${COMPREPLY[*]}"
    ' bash "$folder/$1.bash" "$1" "_${1//-/__}"
}

with=$(completions my-tool)
without=$(completions mytool)
echo "my-tool sub --<TAB>: ${with:-nothing}"
echo "mytool sub --<TAB>: ${without:-nothing}"
if [ "$with" = "$without" ]; then
    echo "changed: the two agree"
    exit 1
fi
