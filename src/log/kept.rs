//! Log files whose names come with each line, kept open while they are in use (`open_log_file_cache`).
//!
//! Has no clock: the caller says what time it is.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::file::LogFile;

/// What is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Files that are known at one time.
    pub max: usize,
    /// One that was not written for so long is closed.
    pub inactive: Duration,
    /// Lines until a file is kept open.
    pub min_uses: u64,
    /// After so long it is looked whether the name still means the same file.
    pub valid: Duration,
}

/// The files that are known.
#[derive(Debug)]
pub struct Kept {
    how: Keeping,
    known: HashMap<PathBuf, Known>,
    /// The names by the order of their last use.
    order: BTreeMap<u64, PathBuf>,
    next: u64,
}

#[derive(Debug)]
struct Known {
    place: u64,
    used: Instant,
    uses: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: Arc<LogFile>,
    /// Device and inode.
    identity: (u64, u64),
    checked: Instant,
}

impl Kept {
    /// Nothing known yet.
    pub fn new(how: Keeping) -> Kept {
        Kept { how, known: HashMap::new(), order: BTreeMap::new(), next: 0 }
    }

    /// The file of that name, opened unless it is open.
    pub fn open(&mut self, path: &Path, now: Instant) -> io::Result<Arc<LogFile>> {
        self.forget_inactive(now);
        let is_new = !self.known.contains_key(path);
        if !is_new {
            self.note_use(path, now);
        }
        let (how, known) = (self.how, self.known.get_mut(path));
        if let Some(open) = known.and_then(|known| known.open.as_mut()) {
            if now.duration_since(open.checked) < how.valid {
                return Ok(Arc::clone(&open.file));
            }
            if identity(path).is_ok_and(|found| found == open.identity) {
                open.checked = now;
                return Ok(Arc::clone(&open.file));
            }
        }
        // One that cannot be opened takes nobody's place.
        let file = LogFile::open(path).map(Arc::new)?;
        if is_new {
            self.note_use(path, now);
        }
        if let Some(known) = self.known.get_mut(path) {
            let identity = identity(path).ok().filter(|_| known.uses >= how.min_uses);
            known.open =
                identity.map(|identity| Open { file: Arc::clone(&file), identity, checked: now });
        }
        Ok(file)
    }

    /// Closes all of them: their names are to mean new files.
    pub fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }

    fn note_use(&mut self, path: &Path, now: Instant) {
        self.next += 1;
        let place = self.next;
        if let Some(known) = self.known.get_mut(path) {
            self.order.remove(&known.place);
            (known.place, known.used, known.uses) = (place, now, known.uses + 1);
        } else {
            while self.known.len() >= self.how.max.max(1) && self.forget_oldest() {}
            self.known.insert(path.to_owned(), Known { place, used: now, uses: 1, open: None });
        }
        self.order.insert(place, path.to_owned());
    }

    fn forget_inactive(&mut self, now: Instant) {
        let idle = |known: &Known| now.duration_since(known.used) > self.how.inactive;
        while let Some((_, oldest)) = self.order.first_key_value()
            && self.known.get(oldest).is_none_or(idle)
        {
            self.known.remove(oldest);
            self.order.pop_first();
        }
    }

    /// Answers whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.order.pop_first();
        oldest.is_some_and(|(_, path)| self.known.remove(&path).is_some())
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: Keeping = Keeping {
        max: 3,
        inactive: Duration::from_secs(20),
        min_uses: 2,
        valid: Duration::from_mins(1),
    };

    struct Scene {
        dir: tempfile::TempDir,
        kept: Kept,
        now: Instant,
    }

    fn scene(how: Keeping) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        Scene { dir, kept: Kept::new(how), now: Instant::now() }
    }

    impl Scene {
        /// Writes a line, unless the file cannot be opened.
        fn write(&mut self, name: &str) -> bool {
            let path = self.dir.path().join("d").join(name);
            let file = self.kept.open(&path, self.now);
            file.and_then(|file| file.write(b"x\n")).is_ok()
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
        }

        fn lines(&self, name: &str) -> usize {
            let text = std::fs::read_to_string(self.dir.path().join("d").join(name));
            text.map_or(0, |text| text.lines().count())
        }
    }

    #[test]
    fn files_in_use_stay_open_as_in_nginx() {
        let mut scene = scene(HOW);
        for name in ["lru", "lru", "once", "first", "first", "second", "second"] {
            assert!(scene.write(name));
        }
        scene.rename("d", "moved");
        let open = ["lru", "once", "first", "second"].map(|name| scene.write(name));
        scene.rename("moved", "d");
        assert_eq!(open, [false, false, true, true]);
        assert_eq!(["lru", "once", "first"].map(|name| scene.lines(name)), [2, 1, 3]);
    }

    #[test]
    fn a_name_that_means_another_file_is_found_out() {
        let mut scene = scene(Keeping { min_uses: 1, inactive: Duration::from_hours(1), ..HOW });
        assert!(scene.write("a"));
        scene.rename("d/a", "d/b");
        scene.now += Duration::from_secs(59);
        assert!(scene.write("a"));
        assert_eq!((scene.lines("a"), scene.lines("b")), (0, 2));
        scene.now += Duration::from_secs(1);
        assert!(scene.write("a"));
        assert_eq!((scene.lines("a"), scene.lines("b")), (1, 2));
        scene.rename("d/a", "d/c");
        scene.kept.clear();
        assert!(scene.write("a"));
        assert_eq!((scene.lines("a"), scene.lines("c")), (1, 1));
    }

    #[test]
    fn what_is_not_written_is_closed() {
        let mut scene = scene(Keeping { min_uses: 1, ..HOW });
        assert!(scene.write("a"));
        scene.now += Duration::from_secs(21);
        assert!(scene.write("b"));
        assert_eq!(scene.kept.known.len(), 1);
    }
}
