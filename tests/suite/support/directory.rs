//! A directory of its own for each server, gone when the test is over.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A temporary directory, mode 0700, removed on drop.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Directory {
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("proxyd-suite-{}-{number}", std::process::id());
        let parent = std::env::temp_dir().canonicalize().expect("a temporary directory");
        let path = parent.join(name);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&path).expect("a fresh temporary directory");
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, making the directories above it.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory");
        }
        fs::write(&path, content).expect("a written file");
    }

    /// The text of a file; empty while it does not exist.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.0.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
