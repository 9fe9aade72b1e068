//! Commands for other architectures: whether the kernel runs them, natively or through an interpreter of binfmt_misc.

use std::fs;

use image_tool::layout::platform::Platform;

/// Where the kernel lists its interpreters.
const FOLDER: &str = "/proc/sys/fs/binfmt_misc";

/// Whether programs for the architecture run on this machine.
pub fn runs(architecture: &str) -> bool {
    let host = Platform::host();
    let native = match host.architecture() {
        "amd64" => ["amd64", "386"],
        "arm64" => ["arm64", "arm"],
        other => [other, other],
    };
    if architecture.is_empty() || native.contains(&architecture) {
        return true;
    }
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.any(|text| interprets(&text, architecture))
}

/// Whether an entry of binfmt_misc is for the architecture. It must have been opened in advance (`F`), since the
/// container does not hold the interpreter.
fn interprets(entry: &str, architecture: &str) -> bool {
    let Some((class, little, machine)) = machine(architecture) else { return false };
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let magic = field("magic ").unwrap_or_default();
    let byte = |at: usize| magic.get(at * 2..at * 2 + 2).and_then(|text| u8::from_str_radix(text, 16).ok());
    let expected = if little { machine.to_le_bytes() } else { machine.to_be_bytes() };
    entry.starts_with("enabled")
        && field("offset ").is_none_or(|offset| offset == "0")
        && field("flags: ").is_some_and(|flags| flags.contains('F'))
        && byte(4) == Some(class)
        && byte(5) == Some(if little { 1 } else { 2 })
        && [byte(18), byte(19)] == expected.map(Some)
}

/// The class, the byte order and the machine number of an architecture's ELF files (elf.h).
fn machine(architecture: &str) -> Option<(u8, bool, u16)> {
    Some(match architecture {
        "amd64" => (2, true, 62),
        "386" => (1, true, 3),
        "arm64" => (2, true, 183),
        "arm" => (1, true, 40),
        "riscv64" => (2, true, 243),
        "ppc64le" => (2, true, 21),
        "s390x" => (2, false, 22),
        "mips64le" => (2, true, 8),
        "loong64" => (2, true, 258),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_known_by_its_magic_and_must_be_open() {
        let entry = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
                     magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        assert!(interprets(entry, "arm64"));
        for (other, architecture) in [
            (entry.to_owned(), "arm"),
            (entry.to_owned(), "s390x"),
            (entry.to_owned(), "nosuch"),
            (entry.replace("POCF", "POC"), "arm64"),
            (entry.replace("enabled", "disabled"), "arm64"),
            (String::new(), "arm64"),
        ] {
            assert!(!interprets(&other, architecture), "{architecture}: {other}");
        }
        assert!(runs(Platform::host().architecture()));
        assert!(!runs("pdp11"));
    }
}
