//! Owns the files of users: a line `name:password` each, and perhaps more after another colon.
//!
//! Must not know what a password means.

use crate::http::request::Request;
use crate::log::{Level, os_error};
use nix::libc;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file could not be looked at.
#[derive(Debug)]
pub(super) enum Failure {
    Open(io::Error),
    Read(io::Error),
}

impl Failure {
    /// Logs it as nginx does; the status that stands for it.
    pub fn tell(&self, req: &Request, path: &Path) -> u16 {
        let (call, error) = match self {
            Self::Open(error) => ("open()", error),
            Self::Read(error) => ("read()", error),
        };
        let missing = error.kind() == io::ErrorKind::NotFound;
        let (level, status) = if missing { (Level::Error, 403) } else { (Level::Crit, 500) };
        let (path, cause) = (path.display(), os_error(error));
        req.log(level, format_args!("{call} \"{path}\" failed{cause}"));
        status
    }
}

/// What a file keeps for a user: that of the first line with this name.
pub(super) fn find(path: &Path, user: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
    // A FIFO would otherwise block the worker.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(Failure::Open)?;
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if file.read_until(b'\n', &mut line).map_err(Failure::Read)? == 0 {
            return Ok(None);
        }
        if let Some(stored) = stored_for(user, &line) {
            return Ok(Some(stored.to_vec()));
        }
    }
}

/// What a line keeps, if it is this user's.
fn stored_for<'a>(user: &[u8], line: &'a [u8]) -> Option<&'a [u8]> {
    if line.starts_with(b"#") {
        return None;
    }
    let rest = line.strip_prefix(user)?.strip_prefix(b":")?;
    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n' | b':'));
    rest.get(..end.unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_name_counts() {
        let text = b"\n#a:no\r\n\r\nab:other\na:one:comment\r\na:two\nb:\nlast:end";
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users");
        std::fs::write(&path, text).unwrap();
        let found = |user: &[u8]| find(&path, user).unwrap();
        assert_eq!(found(b"a").unwrap(), b"one");
        assert_eq!(found(b"b").unwrap(), b"");
        assert_eq!(found(b"last").unwrap(), b"end");
        for nobody in [&b"#a"[..], b"c", b"las", b"\n", b"\r"] {
            assert_eq!(found(nobody), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let in_dir = |name: &str| dir.path().join(name);
        assert!(matches!(find(&in_dir("none"), b"a"), Err(Failure::Open(_))));
        assert!(matches!(find(&in_dir(""), b"a"), Err(Failure::Read(_))));
    }
}
