//! What a header says that no file is made from, but that tables of contents repeat.

use tar::Header;

use super::pax::{Extended, number, until_nul};
use crate::beneath::Time;

/// The fields of the last header of a [`super::Reader`] that [`super::Entry`] has no room for, as Go's `archive/tar` has them.
#[derive(Default)]
pub(in crate::layer) struct Aside {
    /// The flag of the type.
    pub(in crate::layer) flag: u8,
    /// The mode with all its bits.
    pub(in crate::layer) mode: i64,
    /// The size, also of what has no data.
    pub(in crate::layer) size: u64,
    /// The numbers of a device, also of what is none.
    pub(in crate::layer) device: (i64, i64),
    /// The time of access.
    pub(in crate::layer) accessed: Option<Time>,
    /// The time of the last change of metadata.
    pub(in crate::layer) changed: Option<Time>,
    /// The name of the user.
    pub(in crate::layer) user: Vec<u8>,
    /// The name of the group.
    pub(in crate::layer) group: Vec<u8>,
    /// Whether readers disagree about the header: a format of star's, or a broken one of GNU's.
    pub(in crate::layer) is_odd: bool,
    /// Whether something came before that others take for an entry: a global header, a volume label.
    pub(in crate::layer) has_skipped: bool,
}

impl Aside {
    /// Takes the fields of a header and of the extended headers before it.
    pub(super) fn take(&mut self, header: &Header, extended: &mut Extended) {
        let block = header.as_bytes();
        let (is_ustar, is_gnu) = (&block[257..265] == b"ustar\x0000", &block[257..265] == b"ustar  \0");
        let field = |range: std::ops::Range<usize>| number(&block[range]).unwrap_or_default();
        let name = |range: std::ops::Range<usize>| until_nul(&block[range]).to_vec();
        let has_names = is_ustar || is_gnu;
        *self = Self {
            flag: block[156],
            mode: field(100..108),
            size: extended.size.unwrap_or_else(|| field(124..136).unsigned_abs()),
            device: if has_names { (field(329..337), field(337..345)) } else { (0, 0) },
            accessed: extended.accessed.take(),
            changed: extended.changed.take(),
            user: extended.user.take().unwrap_or_else(|| if has_names { name(265..297) } else { Vec::new() }),
            group: extended.group.take().unwrap_or_else(|| if has_names { name(297..329) } else { Vec::new() }),
            is_odd: is_ustar && block[508..512] == *b"tar\0",
            has_skipped: self.has_skipped,
        };
        if is_gnu {
            for (range, time) in [(345..357, &mut self.accessed), (357..369, &mut self.changed)] {
                if block[range.start] == 0 {
                    continue;
                }
                match number(&block[range]) {
                    Some(seconds) => *time = time.or(Some(Time { seconds, nanoseconds: 0 })),
                    None => self.is_odd = true,
                }
            }
        }
    }
}
