//! Owns a process that stops what runs in a directory when this process ends without having done so.
//! Servers in the background would outlive it otherwise.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

pub struct Leash {
    child: Child,
    /// Its end is the sign.
    held: Option<ChildStdin>,
}

impl Leash {
    pub fn new(dir: &Path) -> std::io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        // A group of its own: an interrupt from the terminal is not for it.
        command.arg("leash").arg(dir).stdin(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let held = child.stdin.take();
        Ok(Self { child, held })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default())
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.held = None;
        let _ = self.child.wait();
    }
}

/// The other process: waits, then looks into the pid files of that directory, if it is still there.
pub fn run(dir: &Path) -> std::io::Result<()> {
    let _ = std::io::stdin().read(&mut [0])?;
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let pid = text.trim().parse().ok().filter(|_| name.starts_with("server.pid"));
        let Some(pid) = pid.map(Pid::from_raw) else { continue };
        if is_of(pid, dir) {
            let _ = kill(pid, Signal::SIGTERM);
        }
    }
    fs::remove_dir_all(dir)
}

/// Its command line names the directory: the number may be somebody else's by now.
fn is_of(pid: Pid, dir: &Path) -> bool {
    let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    memchr::memmem::find(&title, dir.as_os_str().as_encoded_bytes()).is_some()
}
