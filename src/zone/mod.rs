//! Typed tables in shared memory, mapped by the master and every worker of every generation.
//! Knows the shape of a region; what the words mean belongs to each table.

pub mod counters;
pub mod floods;
pub mod gates;
pub mod keyed;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::memory::Mapping;

pub use counters::{Counters, Gauge, Slot, Total, Totals};
pub use floods::{FLOODS, Flood};
pub use gates::{Door, Gates, Switch};
pub use keyed::Keyed;

/// "proxydZ1" in memory on a little-endian machine.
const MAGIC: u64 = u64::from_le_bytes(*b"proxydZ1");

/// Words before the table, one cache line: magic, layout, words in the table, spare.
const HEADER_WORDS: usize = 8;

/// A region with a header that says what it holds, so that a later version can tell whether it can
/// go on with the table of an earlier one.
#[derive(Debug)]
pub struct Zone {
    mapping: Mapping,
}

impl Zone {
    /// A new, zeroed table of `words` words. `layout` names the table's kind and version; the
    /// descriptor lets other processes attach.
    pub fn create(name: &str, layout: u64, words: usize) -> io::Result<(OwnedFd, Zone)> {
        let (fd, mapping) = Mapping::create(name, HEADER_WORDS + words)?;
        for (word, value) in mapping.words().iter().zip([MAGIC, layout, words as u64]) {
            word.store(value, Ordering::Relaxed);
        }
        Ok((fd, Zone { mapping }))
    }

    /// Maps a table of this very layout and size. Otherwise the error says what was found, and the
    /// caller starts empty.
    pub fn attach(fd: BorrowedFd<'_>, layout: u64, words: usize) -> io::Result<Zone> {
        let mapping = Mapping::attach(fd)?;
        let invalid = |text: String| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let found: Vec<u64> =
            mapping.words().iter().take(3).map(|word| word.load(Ordering::Relaxed)).collect();
        if found.first() != Some(&MAGIC) {
            return invalid("not a zone".into());
        }
        if found.get(1) != Some(&layout) {
            return invalid(format!("layout {layout}, found {}", found.get(1).unwrap_or(&0)));
        }
        if found.get(2) != Some(&(words as u64)) || mapping.words().len() < HEADER_WORDS + words {
            return invalid(format!("size {words}, found {}", found.get(2).unwrap_or(&0)));
        }
        Ok(Zone { mapping })
    }

    /// The table.
    pub fn words(&self) -> &[AtomicU64] {
        self.mapping.words().get(HEADER_WORDS..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fds::memfd_sealed;
    use std::os::fd::AsFd;

    #[test]
    fn two_mappings_see_the_same_table() {
        let (fd, ours) = Zone::create("test", 7, 100).unwrap();
        let theirs = Zone::attach(fd.as_fd(), 7, 100).unwrap();
        ours.words()[99].store(5, Ordering::Relaxed);
        assert_eq!(theirs.words()[99].load(Ordering::Relaxed), 5);
        drop((fd, ours));
        assert_eq!(theirs.words()[99].load(Ordering::Relaxed), 5);
    }

    #[test]
    fn strangers_are_refused() {
        let (fd, _zone) = Zone::create("test", 7, 100).unwrap();
        let attach = |fd: BorrowedFd<'_>, layout, words| {
            Zone::attach(fd, layout, words).unwrap_err().to_string()
        };
        assert_eq!(attach(fd.as_fd(), 8, 100), "layout 8, found 7");
        assert_eq!(attach(fd.as_fd(), 7, 101), "size 101, found 100");
        let (short, _) = Mapping::create("short", 2).unwrap();
        assert_eq!(attach(short.as_fd(), 7, 100), "not a zone");
        let (empty, _) = Mapping::create("empty", 1).unwrap();
        assert_eq!(attach(empty.as_fd(), 7, 100), "not a zone");
        let text = memfd_sealed("text", b"http {}").unwrap();
        assert!(Zone::attach(text.as_fd(), 7, 100).is_err());
    }

    #[test]
    fn a_header_that_lies_about_its_size_is_refused() {
        let (fd, mapping) = Mapping::create("liar", HEADER_WORDS).unwrap();
        for (word, value) in mapping.words().iter().zip([MAGIC, 7, 100]) {
            word.store(value, Ordering::Relaxed);
        }
        assert!(Zone::attach(fd.as_fd(), 7, 100).is_err());
    }
}
