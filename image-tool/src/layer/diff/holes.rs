//! The holes of a sparse file: long runs of zeros, which a layer does not store.
//!
//! They are found in the content, not on the file system, which has holes or not by its own rules: a copy of a file gives the
//! same bytes of a layer. What the file system knows to be a hole is only not read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// The shortest run of zeros that becomes a hole; so nothing changes for ordinary files.
const LEAST: u64 = 1 << 20;
/// Holes begin and end at multiples of this.
const GRAIN: usize = 64 * 1024;
/// The map of a file must not be larger than readers accept.
const PIECES: usize = 20_000;

/// Offset and length of each piece of data between the holes of a file; `None` if there are none.
pub(super) fn pieces(file: &File, size: u64) -> io::Result<Option<Vec<(u64, u64)>>> {
    if size < LEAST {
        return Ok(None);
    }
    let zeros = vec![0; GRAIN];
    let mut buffer = vec![0; GRAIN];
    let mut pieces = Vec::new();
    // The beginning of the data, and of the run of zeros, that the position is in.
    let (mut data, mut run) = (0, None);
    let mut position = 0;
    while position < size {
        if run.is_none_or(|run| position > run) {
            let next = next_data(file, position, size)?;
            let next = next - next % GRAIN as u64;
            if next > position {
                run.get_or_insert(position);
                position = next;
                continue;
            }
        }
        let length = usize::try_from(size - position).unwrap_or(GRAIN).min(GRAIN);
        file.read_exact_at(&mut buffer[..length], position)?;
        if buffer[..length] == zeros[..length] {
            run.get_or_insert(position);
        } else if let Some(start) = run.take().filter(|start| position - start >= LEAST && pieces.len() < PIECES) {
            pieces.push((data, start - data));
            data = position;
        }
        position += length as u64;
    }
    match run.filter(|start| size - start >= LEAST) {
        Some(start) => pieces.extend([(data, start - data), (size, 0)]),
        None if pieces.is_empty() => return Ok(None),
        None => pieces.push((data, size - data)),
    }
    pieces.retain(|(offset, length)| *length > 0 || *offset == size);
    Ok(Some(pieces))
}

/// Where the file system has data from `position` on; `position` itself where it does not tell.
fn next_data(file: &File, position: u64, size: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(next) => Ok(next.min(size)),
        // Nothing but a hole until the end.
        Err(Errno::NXIO) => Ok(size),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(position),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in which these ranges are not zero, with real holes or written zeros.
    fn file(size: u64, ranges: &[(u64, u64)], is_sparse: bool) -> File {
        let file = tempfile::tempfile().unwrap();
        if is_sparse {
            file.set_len(size).unwrap();
        } else {
            file.write_all_at(&vec![0; size as usize], 0).unwrap();
        }
        for (offset, length) in ranges {
            file.write_all_at(&vec![1; *length as usize], *offset).unwrap();
        }
        file
    }

    #[test]
    fn holes_depend_on_the_content_alone() {
        const MIB: u64 = 1 << 20;
        let grain = GRAIN as u64;
        for (size, ranges, expected) in [
            (100, &[][..], None),
            (MIB - 1, &[], None),
            (MIB, &[], Some(vec![(MIB, 0)])),
            (2 * MIB, &[(0, 2 * MIB)], None),
            (2 * MIB, &[(MIB / 2, 1), (MIB + MIB / 2, 1)], None),
            (3 * MIB + 5, &[(0, 1)], Some(vec![(0, grain), (3 * MIB + 5, 0)])),
            (3 * MIB + 5, &[(3 * MIB, 5)], Some(vec![(3 * MIB, 5)])),
            (5 * MIB, &[(7, 1), (4 * MIB - 1, 2)], Some(vec![(0, grain), (4 * MIB - grain, MIB + grain)])),
            (6 * MIB, &[(7, 1), (4 * MIB - 1, 2)], Some(vec![(0, grain), (4 * MIB - grain, 2 * grain), (6 * MIB, 0)])),
        ] {
            for is_sparse in [false, true] {
                assert_eq!(pieces(&file(size, ranges, is_sparse), size).unwrap(), expected, "{size} {ranges:?}");
            }
        }
    }
}
