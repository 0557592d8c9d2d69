//! Further versions of the program under test: copies of it that call themselves by another number.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::{binary, is_reference};

/// What the program under test calls itself.
pub const FIRST: &str = env!("CARGO_PKG_VERSION");
/// The version after it, and the one after that; as long as it.
pub const SECOND: &str = "0.1.1";
pub const THIRD: &str = "0.1.2";

/// An executable that is the program under test but for its version.
///
/// Made once for all runs of this build and never written to again; copy it to do that. nginx itself
/// is what it is: there it is only another name of the same.
pub fn executable(version: &str) -> PathBuf {
    if version == FIRST { binary() } else { changed(version, &[(FIRST, version)]) }
}

/// The second version, in which the directive `worker_priority` is called `worker_qriority`.
pub fn knowing_more() -> PathBuf {
    changed("more", &[(FIRST, SECOND), ("worker_priority", "worker_qriority")])
}

/// A copy of the program under test in which texts are replaced by others of the same length.
fn changed(name: &str, changes: &[(&str, &str)]) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let original = binary();
    if is_reference() {
        return original;
    }
    let stamp = fs::metadata(&original).and_then(|data| data.modified()).expect("a file");
    let stamp = stamp.duration_since(std::time::UNIX_EPOCH).expect("a time").as_nanos();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = directory.join(format!("proxyd-{name}-{stamp}"));
    if !path.exists() {
        fs::create_dir_all(directory).expect("a directory");
        remove_earlier(directory, name);
        make(&original, changes, &path);
    }
    path
}

fn remove_earlier(directory: &Path, name: &str) {
    let prefix = format!("proxyd-{name}-");
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // Whoever runs it still has it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn make(original: &Path, changes: &[(&str, &str)], path: &Path) {
    let mut bytes = fs::read(original).expect("the program under test");
    for (from, to) in changes {
        assert_eq!(from.len(), to.len());
        let places = memchr::memmem::find_iter(&bytes, from.as_bytes()).collect::<Vec<_>>();
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    let beside = |name: &str| path.with_file_name(format!("{name}-{}", std::process::id()));
    let (raw, fresh) = (beside("raw"), beside("fresh"));
    fs::write(&raw, bytes).expect("a copy");
    copy(&raw, &fresh);
    fs::remove_file(raw).expect("a file to remove");
    let output = Command::new(&fresh).arg("-v").output().expect("the copy runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains(&format!("proxyd/{}", changes[0].1)), "{text}");
    fs::rename(fresh, path).expect("a copy in its place");
}

/// Copies an executable by a process of its own: a file open for writing here could be inherited by
/// what another test starts just then, and would be too busy to be executed.
pub fn copy(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(from).arg(to).status();
    assert!(status.expect("install runs").success(), "{}", to.display());
}
