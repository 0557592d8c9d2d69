//! The file that holds the master's process id. It is renamed into place, so that nobody ever reads
//! half of it, and only ever removed by the process whose id it holds.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;

/// The decimal id and a line feed, as in nginx, mode 0644.
pub fn write(path: &Path, pid: u32) -> io::Result<()> {
    let text = format!("{pid}\n");
    // `pid /dev/null;` must not replace the device; a link is the administrator's wish.
    let special = fs::symlink_metadata(path).is_ok_and(|found| !found.is_file());
    if special {
        return File::options().write(true).truncate(true).open(path)?.write_all(text.as_bytes());
    }
    let next = beside(path, pid);
    let written = create(&next).and_then(|mut file| file.write_all(text.as_bytes()));
    let result = written.and_then(|()| fs::rename(&next, path));
    if result.is_err() {
        let _ = fs::remove_file(&next);
    }
    result
}

fn create(path: &Path) -> io::Result<File> {
    // A leftover of an earlier process with our id is of no use to anybody.
    let _ = fs::remove_file(path);
    File::options().write(true).create_new(true).mode(0o644).custom_flags(O_NOFOLLOW).open(path)
}

fn beside(path: &Path, pid: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{pid}"));
    name.into()
}

/// Removes the file if it holds this id; says whether it did.
pub fn remove(path: &Path, pid: u32) -> io::Result<bool> {
    match read(path) {
        Ok(Ok(found)) if found == pid => fs::remove_file(path).map(|()| true),
        _ => Ok(false),
    }
}

/// The id in the file, or what stands there instead of one.
pub fn read(path: &Path) -> io::Result<Result<u32, String>> {
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let digits = text.trim_end_matches(['\r', '\n']);
    Ok(match digits.parse() {
        Ok(pid) if pid > 0 && digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(pid),
        _ => Err(digits.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn written_read_and_removed_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        write(&path, 12).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(read(&path).unwrap(), Ok(12));
        assert!(!remove(&path, 11).unwrap());
        assert!(remove(&path, 12).unwrap());
        assert!(!remove(&path, 12).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_number_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        for (text, found) in
            [("", Err("")), ("abc\n", Err("abc")), ("7\r\n", Ok(7)), ("+7", Err("+7"))]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap(), found.map_err(str::to_owned));
        }
    }

    #[test]
    fn a_device_is_written_to_not_replaced() {
        write(Path::new("/dev/null"), 1).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(write(Path::new("/nonexistent/a.pid"), 1).is_err());
    }
}
