//! Owns what of an answer's body has been read before the client wanted it: in a temporary file without
//! a name, so that a slow client holds neither an upstream nor memory.
//!
//! Must not read from the upstream nor decide when.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Where an answer goes that is read ahead, and how much of it.
#[derive(Debug)]
pub struct ReadAhead {
    /// `proxy_temp_path`.
    pub dir: PathBuf,
    /// `proxy_max_temp_file_size`, in bytes; not 0.
    pub most: u64,
    /// `proxy_temp_file_write_size`: bytes written at a time.
    pub step: usize,
}

/// Bytes kept, first in first out.
#[derive(Debug, Default)]
pub struct Ahead {
    file: Option<File>,
    /// What the client has not had yet stands from `start` to `end`.
    start: u64,
    end: u64,
    /// What could not be written, behind what is in the file.
    rest: Vec<u8>,
    /// Why the body ends behind it.
    pub failed: Option<io::Error>,
    /// Something has gone into a file.
    pub used: bool,
    /// Why nothing more does.
    pub trouble: Option<io::Error>,
}

impl Ahead {
    /// Whether the client has had all.
    pub fn is_empty(&self) -> bool {
        self.start == self.end && self.rest.is_empty()
    }

    /// Whether more may be read now.
    pub fn has_room(&self, limits: &ReadAhead) -> bool {
        self.end < limits.most && self.trouble.is_none() && self.failed.is_none()
    }

    /// Appends. What the disk does not take is kept all the same, and is the last.
    pub fn keep(&mut self, bytes: &[u8], limits: &ReadAhead) {
        if bytes.is_empty() {
            return;
        }
        if let Err(error) = self.write(bytes, limits) {
            self.trouble = Some(error);
            self.rest.extend_from_slice(bytes);
        }
    }

    fn write(&mut self, bytes: &[u8], limits: &ReadAhead) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(&limits.dir)?),
        };
        file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        self.used = true;
        Ok(())
    }

    /// Moves up to `room` bytes to `out`. The file gives its space back when all has been read.
    pub fn take(&mut self, out: &mut Vec<u8>, room: usize) -> io::Result<()> {
        if self.start == self.end {
            out.append(&mut self.rest);
            return Ok(());
        }
        let Some(file) = &self.file else { return Ok(()) };
        let left = usize::try_from(self.end - self.start).unwrap_or(usize::MAX).min(room.max(1));
        let before = out.len();
        out.resize(before + left, 0);
        let got = file.read_at(out.get_mut(before..).unwrap_or_default(), self.start);
        out.truncate(before + *got.as_ref().unwrap_or(&0));
        if got? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.start += (out.len() - before) as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            file.set_len(0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(dir: PathBuf) -> ReadAhead {
        ReadAhead { dir, most: 8, step: 4 }
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let limits = limits(dir.path().to_owned());
        let mut ahead = Ahead::default();
        let mut out = Vec::new();
        ahead.keep(b"abcdef", &limits);
        ahead.take(&mut out, 4).unwrap();
        assert!(ahead.has_room(&limits));
        ahead.keep(b"gh", &limits);
        assert!(!ahead.has_room(&limits), "as much as the file may hold");
        while !ahead.is_empty() {
            ahead.take(&mut out, 3).unwrap();
        }
        assert_eq!(out, b"abcdefgh");
        assert!(ahead.has_room(&limits), "the file is empty again");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "and has no name");
    }

    #[test]
    fn what_the_disk_does_not_take_is_not_lost() {
        let limits = limits(PathBuf::from("/nowhere"));
        let mut ahead = Ahead::default();
        ahead.keep(b"abc", &limits);
        assert!(!ahead.has_room(&limits) && ahead.trouble.is_some());
        let mut out = Vec::new();
        ahead.take(&mut out, 1).unwrap();
        assert_eq!(out, b"abc");
        assert!(ahead.is_empty());
    }
}
