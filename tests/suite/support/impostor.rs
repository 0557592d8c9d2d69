//! Programs that are no good as a new version, each in a way of its own.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::version;

/// Waits for ever and tells nobody that it is ready.
pub const HANGS: &str = "#include <unistd.h>\nstatic void run(void) { for (;;) pause(); }\n";

/// Says a last word and dies of a signal.
pub const CRASHES: &str = "#include <signal.h>\n#include <stdio.h>\n\
    static void run(void) { fputs(\"last words\\n\", stderr); raise(SIGSEGV); }\n";

/// Finds every configuration good, and otherwise does what is above.
const MAIN: &str = "#include <string.h>\nint main(int count, char **words) {\n\
    while (count-- > 1) if (strcmp(words[count], \"-t\") == 0) return 0;\n\
    run(); return 0; }\n";

/// Compiles a program into `directory`. It counts as one that knows the handover, so that it is
/// expected to take part.
pub fn compiled(directory: &Path, name: &str, source: &str) -> PathBuf {
    let text = directory.join(format!("{name}.c"));
    let known = format!("const char known[] __attribute__((used)) = \"{MARKER}\";\n");
    let marked = format!("{source}{MAIN}{known}");
    fs::write(&text, marked).expect("a source");
    let path = directory.join(name);
    let output = Command::new("gcc").arg("-o").arg(&path).arg(&text).output().expect("gcc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// By which an executable is known to understand a handover.
const MARKER: &str = "proxyd: takes over from a master";

/// An executable file with this content, which is none that the kernel knows.
pub fn file(directory: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    path
}

/// A good program that nobody may execute.
pub fn not_executable(directory: &Path) -> PathBuf {
    let path = directory.join("not-executable");
    version::copy(&version::executable(version::SECOND), &path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
    path
}

/// A good program that is still being written as long as the second lives.
pub fn being_written(directory: &Path) -> (PathBuf, File) {
    let path = directory.join("being-written");
    version::copy(&version::executable(version::SECOND), &path);
    let writer = File::options().append(true).open(&path).expect("a writer");
    (path, writer)
}
