//! The file that holds the master's process id, and what becomes of it while one master takes over
//! from another. It is renamed into place, so that nobody ever reads half of it or finds none, and
//! only ever removed by the process whose id it holds.
//!
//! Must not know which of the two masters asks, nor when.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::O_NOFOLLOW;

use crate::sys::process::{self, Pid};

/// The most bytes that an id and its line feed take.
const LONGEST: usize = "4294967295\n".len();

/// The decimal id and a line feed, as in nginx, mode 0644.
pub fn write(path: &Path, pid: u32) -> io::Result<()> {
    prepare(path, pid)?.put()
}

/// A file with the id that lies ready beside the one it will replace, so that nothing but a rename is
/// left to do. Dropped before that, it is removed.
#[derive(Debug)]
pub struct Prepared {
    path: PathBuf,
    pid: u32,
    /// None once it has its name, and where nothing can lie ready: at a device or a link.
    beside: Option<PathBuf>,
}

/// Writes the file that [`Prepared::put`] will show.
pub fn prepare(path: &Path, pid: u32) -> io::Result<Prepared> {
    let mut prepared = Prepared { path: path.to_owned(), pid, beside: None };
    if !is_special(path) {
        // Known before it is written: half a file is removed as well.
        let beside = &*prepared.beside.insert(with(path, &format!(".{pid}")));
        create(beside, pid)?;
    }
    Ok(prepared)
}

impl Prepared {
    /// Gives it its name.
    pub fn put(mut self) -> io::Result<()> {
        match &self.beside {
            Some(beside) => fs::rename(beside, &self.path)?,
            None => return write_through(&self.path, self.pid),
        }
        self.beside = None;
        Ok(())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// The file's name while an old master lives beside its successor.
pub fn oldbin(path: &Path) -> PathBuf {
    with(path, ".oldbin")
}

/// The pid file of a master that is about to be succeeded, under a second name that nobody looks at,
/// so that it can come back when there is no room to write it again.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    pid: u32,
    /// None where there is nothing to keep: at a device or a link.
    hidden: Option<PathBuf>,
}

/// Keeps the file, which must hold this id.
pub fn keep(path: &Path, pid: u32) -> io::Result<Kept> {
    let mut kept = Kept { path: path.to_owned(), pid, hidden: None };
    if is_special(path) {
        return Ok(kept);
    }
    if read(path)? != Ok(pid) {
        return Err(io::Error::other("not this process's id"));
    }
    let hidden = with(path, &format!(".{pid}.old"));
    let _ = fs::remove_file(&hidden);
    // Not every file system has second names.
    fs::hard_link(path, &hidden).or_else(|_| create(&hidden, pid))?;
    kept.hidden = Some(hidden);
    Ok(kept)
}

impl Kept {
    /// Shows it as [`oldbin`].
    pub fn show(&self) -> io::Result<()> {
        let Some(hidden) = &self.hidden else { return Ok(()) };
        // Where a successor had to overwrite the file, this name has the successor's id too.
        if !self.is_ours(hidden) {
            let _ = fs::remove_file(hidden);
            return Err(ErrorKind::NotFound.into());
        }
        fs::rename(hidden, oldbin(&self.path))
    }

    /// Gives it its first name back, whatever is there now.
    pub fn restore(&self) -> io::Result<()> {
        let Some(hidden) = &self.hidden else { return Ok(()) };
        let names = [hidden.clone(), oldbin(&self.path)];
        let name = names.iter().find(|name| self.is_ours(name)).ok_or(ErrorKind::NotFound)?;
        fs::rename(name, &self.path)?;
        // A rename between two names of one file leaves both.
        self.forget();
        Ok(())
    }

    /// Removes it, if it still is ours.
    pub fn forget(&self) {
        let Some(hidden) = &self.hidden else { return };
        let _ = fs::remove_file(hidden);
        let _ = remove(&oldbin(&self.path), self.pid);
    }

    fn is_ours(&self, name: &Path) -> bool {
        read(name).is_ok_and(|found| found == Ok(self.pid))
    }
}

/// Puts the id into the file that is there, when a disk is too full for a file beside. In one piece, so
/// that it is the old id until it is the new one. The file's other names get the new id as well.
pub fn overwrite(path: &Path, pid: u32) -> io::Result<()> {
    if is_special(path) {
        return write_through(path, pid);
    }
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o644).custom_flags(O_NOFOLLOW);
    let mut file = options.open(path)?;
    // Line feeds take the place of a longer id. They stay, for readers of a file that shrinks may
    // find zeros at its end.
    file.write_all(format!("{:\n<LONGEST$}", format!("{pid}\n")).as_bytes())?;
    if file.metadata()?.len() > LONGEST as u64 {
        file.set_len(LONGEST as u64)?;
    }
    Ok(())
}

/// `pid /dev/null;` must not replace the device, and a link is the administrator's wish.
fn is_special(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_file())
}

fn write_through(path: &Path, pid: u32) -> io::Result<()> {
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(format!("{pid}\n").as_bytes())
}

fn create(path: &Path, pid: u32) -> io::Result<()> {
    // A leftover of an earlier process with our id is of no use to anybody.
    let _ = fs::remove_file(path);
    let mut options = File::options();
    let mut file =
        options.write(true).create_new(true).mode(0o644).custom_flags(O_NOFOLLOW).open(path)?;
    file.write_all(format!("{pid}\n").as_bytes())
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes the file if it holds this id; says whether it did.
pub fn remove(path: &Path, pid: u32) -> io::Result<bool> {
    match read(path) {
        Ok(Ok(found)) if found == pid => fs::remove_file(path).map(|()| true),
        _ => Ok(false),
    }
}

/// Removes what a process that is gone had prepared beside this file.
pub fn bury_prepared(path: &Path, pid: u32) {
    let beside = with(path, &format!(".{pid}"));
    if read(&beside).is_ok_and(|found| found == Ok(pid)) {
        let _ = fs::remove_file(beside);
    }
}

/// Removes a file that was left behind by a process that is gone.
pub fn bury(path: &Path) {
    let id = read(path).ok().and_then(Result::ok).and_then(|pid| i32::try_from(pid).ok());
    if id.is_some_and(|id| !process::exists(Pid::from_raw(id))) {
        let _ = fs::remove_file(path);
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
        let path = Path::new("/dev/null");
        write(path, 1).unwrap();
        overwrite(path, 1).unwrap();
        let kept = keep(path, 1).unwrap();
        kept.show().unwrap();
        kept.restore().unwrap();
        kept.forget();
        assert!(!fs::metadata(path).unwrap().is_file());
        assert!(!oldbin(path).exists());
    }

    #[test]
    fn a_link_is_followed_even_to_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("a.pid"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let prepared = prepare(&path, 11).unwrap();
        assert!(!target.exists());
        prepared.put().unwrap();
        assert_eq!(names(&dir), ["a.pid", "target"]);
        assert_eq!(read(&target).unwrap(), Ok(11));
        overwrite(&path, 12).unwrap();
        assert_eq!(read(&target).unwrap(), Ok(12));
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(write(Path::new("/nonexistent/a.pid"), 1).is_err());
        assert!(keep(Path::new("/nonexistent/a.pid"), 1).is_err());
        assert!(overwrite(Path::new("/nonexistent/a.pid"), 1).is_err());
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn prepared_is_seen_by_nobody_until_it_is_put() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        let prepared = prepare(&path, 12).unwrap();
        assert_eq!(names(&dir), ["a.pid", "a.pid.12"]);
        assert_eq!(read(&path).unwrap(), Ok(11));
        drop(prepared);
        assert_eq!(names(&dir), ["a.pid"]);
        prepare(&path, 12).unwrap().put().unwrap();
        assert_eq!(names(&dir), ["a.pid"]);
        assert_eq!(read(&path).unwrap(), Ok(12));
    }

    #[test]
    fn prepared_that_cannot_be_put_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        let prepared = prepare(&path, 12).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(prepared.put().is_err());
        assert_eq!(names(&dir), ["a.pid"]);
    }

    #[test]
    fn a_takeover_shows_the_new_id_then_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        let kept = keep(&path, 11).unwrap();
        assert_eq!(names(&dir), ["a.pid", "a.pid.11.old"]);
        write(&path, 12).unwrap();
        kept.show().unwrap();
        assert_eq!(names(&dir), ["a.pid", "a.pid.oldbin"]);
        assert_eq!(read(&path).unwrap(), Ok(12));
        assert_eq!(read(&oldbin(&path)).unwrap(), Ok(11));
        kept.forget();
        assert_eq!(names(&dir), ["a.pid"]);
    }

    #[test]
    fn what_was_kept_comes_back_whenever_it_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        for (replaced, shown) in [(false, false), (true, false), (true, true)] {
            let kept = keep(&path, 11).unwrap();
            if replaced {
                write(&path, 12).unwrap();
            }
            if shown {
                kept.show().unwrap();
            }
            kept.restore().unwrap();
            assert_eq!(names(&dir), ["a.pid"], "{replaced} {shown}");
            assert_eq!(read(&path).unwrap(), Ok(11));
            assert!(kept.restore().is_err(), "there is nothing left");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_neither_kept_nor_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        assert_eq!(keep(&path, 12).unwrap_err().to_string(), "not this process's id");
        let kept = keep(&path, 11).unwrap();
        kept.show().unwrap();
        write(&oldbin(&path), 13).unwrap();
        kept.forget();
        assert_eq!(names(&dir), ["a.pid", "a.pid.oldbin"]);
    }

    #[test]
    fn an_id_is_overwritten_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        for pid in [7, u32::MAX, 1234, 5] {
            overwrite(&path, pid).unwrap();
            assert_eq!(read(&path).unwrap(), Ok(pid));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        fs::write(&path, "no id, and longer than any").unwrap();
        overwrite(&path, 6).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"6\n\n\n\n\n\n\n\n\n\n");
    }

    #[test]
    fn what_was_overwritten_is_not_shown_as_ours() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pid");
        write(&path, 11).unwrap();
        let kept = keep(&path, 11).unwrap();
        overwrite(&path, 12).unwrap();
        assert!(kept.show().is_err());
        assert!(kept.restore().is_err());
        kept.forget();
        assert_eq!(names(&dir), ["a.pid"]);
        assert_eq!(read(&path).unwrap(), Ok(12));
    }
}
