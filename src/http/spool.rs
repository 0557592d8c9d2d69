//! Owns bytes that are kept until they can go on: in memory first, in a temporary file beyond that.
//!
//! Must not know where they come from or go to.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes that all spools of a worker may hold in memory beyond what each may hold for itself. A body
/// that fits in there never sees a disk, and a worker's memory stays bounded.
const SHARED: usize = 16 * 1024 * 1024;

thread_local! {
    /// How much of it is left.
    static LEFT: Cell<usize> = const { Cell::new(SHARED) };
}

/// The memory that a spool may take.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Bytes for itself.
    pub own: usize,
    /// It may also take what the worker can spare.
    pub spare: bool,
}

/// Kept bytes, readable from any offset while they grow.
#[derive(Debug, Default)]
pub struct Spool {
    memory: Vec<u8>,
    /// Bytes of memory taken from what is shared.
    taken: usize,
    file: Option<NamedTempFile>,
    len: u64,
}

impl Spool {
    /// Appends; what has no room in memory goes to a file in `dir` with all before it.
    pub fn append(&mut self, bytes: &[u8], room: Room, dir: &Path) -> io::Result<()> {
        self.len += bytes.len() as u64;
        if self.file.is_none() && self.fits(bytes.len(), room) {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        self.to_file(dir)?;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// Whether so many more bytes may be held.
    fn fits(&mut self, more: usize, room: Room) -> bool {
        let beyond = (self.memory.len() + more).saturating_sub(room.own);
        let wanted = beyond.saturating_sub(self.taken);
        if !room.spare || wanted > LEFT.get() {
            return beyond == 0;
        }
        LEFT.set(LEFT.get() - wanted);
        self.taken += wanted;
        true
    }

    fn give_back(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        // A thread that ends has nobody to share with.
        let _ = LEFT.try_with(|left| left.set(left.get() + taken));
    }

    /// Moves what is held to a file now (`client_body_in_file_only`).
    pub fn to_file(&mut self, dir: &Path) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        let mut file = NamedTempFile::new_in(dir)?;
        file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.give_back();
        self.file = Some(file);
        Ok(())
    }

    /// Bytes kept.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, when they are not more than it may hold for itself: `$request_body`.
    pub fn memory(&self) -> Option<&[u8]> {
        (self.file.is_none() && self.taken == 0).then_some(&*self.memory)
    }

    /// The file, when there is one.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(NamedTempFile::path)
    }

    /// Lets the file outlive the request (`client_body_in_file_only on`).
    pub fn keep_file(&mut self) {
        if let Some(file) = &mut self.file {
            file.disable_cleanup(true);
        }
    }

    /// Appends up to `room` bytes from offset `at` to `out`; how many.
    pub fn read_at(&self, at: u64, out: &mut Vec<u8>, room: usize) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX).min(room);
        let start = out.len();
        let Some(file) = &self.file else {
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.memory.len());
            out.extend_from_slice(&self.memory[at..at + left]);
            return Ok(left);
        };
        out.resize(start + left, 0);
        let got = file.as_file().read_at(&mut out[start..], at);
        out.truncate(start + got.as_ref().map_or(0, |n| *n));
        match got {
            Ok(0) if left > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            got => got,
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(own: usize) -> Room {
        Room { own, spare: true }
    }

    #[test]
    fn what_exceeds_memory_goes_to_a_file_with_what_was_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut others = Spool::default();
        others.append(&vec![0; SHARED], room(1), dir.path()).unwrap();
        assert!(others.path().is_none() && LEFT.get() == 1);
        let mut spool = Spool::default();
        spool.append(b"abc", room(4), dir.path()).unwrap();
        assert_eq!(spool.memory(), Some(&b"abc"[..]));
        spool.append(b"de", room(4), dir.path()).unwrap();
        assert_eq!(spool.memory(), None, "one byte is not its own");
        assert!(spool.path().is_none());
        spool.append(b"f", room(4), dir.path()).unwrap();
        let mut out = Vec::new();
        assert_eq!(spool.read_at(1, &mut out, 4).unwrap(), 4);
        assert_eq!(out, b"bcde");
        assert_eq!(std::fs::read(spool.path().unwrap()).unwrap(), b"abcdef");
        drop((spool, others));
        assert_eq!(LEFT.get(), SHARED);
    }

    #[test]
    fn a_file_that_is_wanted_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::default();
        spool.append(b"a", Room { own: 0, spare: false }, dir.path()).unwrap();
        assert!(spool.path().is_some());
    }
}
