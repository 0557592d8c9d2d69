//! The process title, as `ps` shows it: written over the arguments and environment the kernel laid
//! out for this process.

use std::io;
use std::sync::{Mutex, PoisonError};

/// The memory that `ps` reads.
#[derive(Clone, Copy)]
struct Area {
    start: usize,
    len: usize,
}

static AREA: Mutex<Option<Area>> = Mutex::new(None);

/// Shows `title` as this process's command line (cut if there is no room) and `proxyd` as its name.
///
/// The first call moves the environment elsewhere and spoils `std::env::args`: take the arguments
/// before, and call it before there is a second thread.
pub fn set_title(title: &str) -> io::Result<()> {
    nix::sys::prctl::set_name(c"proxyd")?;
    let mut area = AREA.lock().unwrap_or_else(PoisonError::into_inner);
    let area = match *area {
        Some(area) => area,
        None => *area.insert(claim()?),
    };
    let shown = title.as_bytes();
    // The last byte stays NUL: it ends the title where the kernel reads on into the environment.
    let shown = &shown[..shown.len().min(area.len - 1)];
    let start = area.start as *mut u8;
    // SAFETY: the area is this process's own stack, and nothing points into it any more.
    unsafe { start.write_bytes(0, area.len) };
    // SAFETY: as above, and shown is shorter than the area.
    unsafe { start.copy_from_nonoverlapping(shown.as_ptr(), shown.len()) };
    Ok(())
}

fn claim() -> io::Result<Area> {
    let area = find(&std::fs::read_to_string("/proc/self/stat")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no argument area"))?;
    for (name, value) in std::env::vars_os() {
        if !name.is_empty() && !name.as_encoded_bytes().contains(&b'=') {
            // SAFETY: the caller promises that there is no other thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
    Ok(area)
}

/// Fields 48 to 51 of proc(5)'s stat: the ends of the arguments and of the environment. The name in
/// parentheses, which may hold anything, ends at the last `)`; field 3 follows it.
fn find(stat: &str) -> Option<Area> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(45).map_while(|field| field.parse().ok());
    let start: usize = fields.next()?;
    let [arg_end, env_start, env_end] = [fields.next()?, fields.next()?, fields.next()?];
    let end = if env_start == arg_end { env_end } else { arg_end };
    let len = end.checked_sub(start)?;
    (start > 0 && len > 0).then_some(Area { start, len })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::{is_alone, passes_alone};

    fn shown() -> String {
        let line = std::fs::read_to_string("/proc/self/cmdline").unwrap();
        line.trim_end_matches('\0').to_owned()
    }

    #[test]
    fn sets() {
        passes_alone("sys::title::tests::sets_in_its_own_process");
    }

    #[test]
    fn sets_in_its_own_process() {
        if !is_alone() {
            return;
        }
        let path = std::env::var("PATH").unwrap();
        let long = format!("proxyd: master process {}", "x".repeat(300));
        set_title(&long).unwrap();
        // The environment's room may be shorter than this; never a byte of the environment shows.
        assert!(long.starts_with(&shown()) && shown().len() > 100, "{}", shown());
        set_title("proxyd: worker process").unwrap();
        assert_eq!(shown(), "proxyd: worker process");
        set_title("proxyd: worker process is shutting down").unwrap();
        assert_eq!(shown(), "proxyd: worker process is shutting down");
        assert_eq!(std::env::var("PATH").unwrap(), path);
        let comm = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        assert_eq!(comm, "proxyd\n");
    }

    #[test]
    fn finds_nothing_in_nonsense() {
        assert!(find("").is_none());
        assert!(find("1 (a) S 1 2 3").is_none());
    }
}
