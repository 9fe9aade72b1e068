//! Signals by name or number, as `--stop-signal` and STOPSIGNAL take them.

/// The number of a signal, given by number or by name: in either case, with or without `SIG`.
#[must_use]
pub fn number(text: &str) -> Option<u8> {
    // By number, from 1. They are the same on every architecture that containers run on, except MIPS.
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    const REAL_TIME: (u8, u8) = (34, 64);
    if let Ok(number) = text.parse::<u8>() {
        return (1..=REAL_TIME.1).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| -> Option<u8> {
        if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return REAL_TIME.0.checked_add(offset(rest, '+')?).filter(|number| *number <= REAL_TIME.1);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return REAL_TIME.1.checked_sub(offset(rest, '-')?).filter(|number| *number >= REAL_TIME.0);
    }
    NAMES.iter().position(|each| *each == name).and_then(|index| u8::try_from(index + 1).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known_by_name_and_number() {
        for (text, expected) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("SIGKILL", 9),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", "SIG", "0", "65", "BOGUS", "RTMIN+99", "RTMIN-1", "-9"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
