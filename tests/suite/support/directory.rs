//! A directory of its own for each server, gone when the test is over.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A temporary directory, mode 0700, removed on drop.
pub struct Directory {
    path: PathBuf,
    mounted: AtomicBool,
}

impl Directory {
    pub fn new() -> Directory {
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("proxyd-suite-{}-{number}", std::process::id());
        let parent = std::env::temp_dir().canonicalize().expect("a temporary directory");
        let path = parent.join(name);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).create(&path).expect("a fresh temporary directory");
        Directory { path, mounted: AtomicBool::new(false) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a file system of a megabyte in its place, with the files it has; false if that is not
    /// permitted.
    pub fn mount_small(&self) -> bool {
        let beside = self.path.with_extension("beside");
        let (path, kept) = (self.path.display(), beside.display());
        let script = format!(
            "cp -a {path} {kept} && mount -t tmpfs -o size=1m,mode=700 none {path} && \
             cp -a {kept}/. {path}/; code=$?; rm -rf {kept}; exit $code"
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        self.mounted.store(output.status.success(), Relaxed);
        output.status.success()
    }

    /// Writes a file, making the directories above it.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.path.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a directory");
        }
        fs::write(&path, content).expect("a written file");
    }

    /// The text of a file; empty while it does not exist.
    pub fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.path.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if *self.mounted.get_mut() {
            // Lazily: somebody may still have something open there.
            let _ = Command::new("umount").arg("-l").arg(&self.path).status();
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}
