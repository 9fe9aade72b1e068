//! The value of `--chmod`: octal, or in chmod(1)'s symbols (`u=rwX,go=rX`).

use std::str::FromStr;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Set exactly these bits.
    Octal(u32),
    /// Apply these changes in order.
    Symbolic(Vec<Clause>),
}

/// One symbolic change: for whom, the operator, and the permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    who: u32,
    operator: char,
    permissions: String,
}

/// A mode that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid mode (644, or u=rwX,go=rX)")]
pub struct BadMode(String);

impl FromStr for Mode {
    type Err = BadMode;

    fn from_str(text: &str) -> Result<Self, BadMode> {
        let bad = || BadMode(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(bits) if bits <= 0o7777 => Ok(Self::Octal(bits)),
                _ => Err(bad()),
            };
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(bad)?;
            let who = clause[..at].chars().try_fold(0, |bits, c| match c {
                'u' => Ok(bits | 0o700),
                'g' => Ok(bits | 0o070),
                'o' => Ok(bits | 0o007),
                'a' => Ok(bits | 0o777),
                _ => Err(bad()),
            })?;
            let operator = char::from(clause.as_bytes()[at]);
            let permissions = &clause[at + 1..];
            if permissions.contains(|c: char| !"rwxXstugo".contains(c)) {
                return Err(bad());
            }
            clauses.push(Clause {
                who: if who == 0 { 0o777 } else { who },
                operator,
                permissions: permissions.to_owned(),
            });
        }
        Ok(Self::Symbolic(clauses))
    }
}

impl Mode {
    /// The new bits of a file that has the bits `old`.
    pub fn apply(&self, old: u32, directory: bool) -> u32 {
        let clauses = match self {
            Self::Octal(bits) => return *bits,
            Self::Symbolic(clauses) => clauses,
        };
        let mut mode = old;
        for Clause { who, operator, permissions } in clauses {
            let mut bits = 0;
            for c in permissions.chars() {
                bits |= match c {
                    'r' => 0o444 & who,
                    'w' => 0o222 & who,
                    'x' => 0o111 & who,
                    'X' if directory || mode & 0o111 != 0 => 0o111 & who,
                    's' => (if who & 0o700 != 0 { 0o4000 } else { 0 }) | (if who & 0o070 != 0 { 0o2000 } else { 0 }),
                    't' => 0o1000,
                    'u' => spread(mode >> 6) & who,
                    'g' => spread(mode >> 3) & who,
                    'o' => spread(mode) & who,
                    _ => 0,
                };
            }
            mode = match operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                // As in chmod(1), `u=` clears a file's setuid bit and `g=` its setgid bit; directories keep theirs.
                _ if directory => (mode & !who) | bits,
                _ => (mode & !(who | special(*who))) | bits,
            };
        }
        mode
    }
}

/// The setuid, setgid and sticky bits that belong to these classes.
fn special(who: u32) -> u32 {
    [(0o700, 0o4000), (0o070, 0o2000), (0o007, 0o1000)]
        .iter()
        .filter(|(class, _)| who & class != 0)
        .map(|(_, bit)| bit)
        .sum()
}

/// The three bits, repeated for user, group and others.
fn spread(bits: u32) -> u32 {
    let bits = bits & 7;
    bits << 6 | bits << 3 | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        for (text, old, directory, expected) in [
            ("644", 0o777, false, 0o644),
            ("4755", 0, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("u=rwx", 0o4755, false, 0o755),
            ("g=rx", 0o2755, true, 0o2755),
        ] {
            assert_eq!(text.parse::<Mode>().unwrap().apply(old, directory), expected, "{text}");
        }
        for text in ["", "9", "x", "u~x", "77777", "u+q"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }
}
