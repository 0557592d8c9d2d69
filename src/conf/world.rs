//! All a configuration may ask of the outside: files, globs, names; and the asking itself.
//! Must not interpret what it reads.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// The outside as a configuration sees it.
pub trait World {
    /// The bytes of a file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// The paths a pattern matches, sorted, as glob(3); without a wildcard the path itself.
    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>>;
    /// The addresses of a host name, as getaddrinfo(3), each once.
    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>>;
    /// What a file was that is gone, as the configuration in force has it; for what had better be old
    /// than missing. An error when there is none.
    fn kept(&mut self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The real thing.
pub struct Disk;

impl World for Disk {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        if !has_wildcard(pattern) {
            return Ok(vec![pattern.into()]);
        }
        let options = glob::MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let found = glob::glob_with(&translate(pattern), options).map_err(io::Error::other)?;
        // A directory that cannot be listed matches nothing, as glob(3) without GLOB_ERR.
        let mut paths: Vec<_> = found.filter_map(Result::ok).collect();
        paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        Ok(paths)
    }

    fn resolve(&mut self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        for address in (name, 0).to_socket_addrs()? {
            if !found.contains(&address.ip()) {
                found.push(address.ip());
            }
        }
        Ok(found)
    }
}

/// An error as nginx shows it: `2: No such file or directory`.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => {
            let text = text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text);
            format!("{code}: {text}")
        }
        None => text,
    }
}

/// Whether nginx takes `pattern` for a pattern rather than a file name.
pub(super) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// From the dialect of glob(3) to that of the `glob` crate: `**` is no more than `*`, `[^…]` is
/// `[!…]`, a backslash takes the meaning from the next character.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' if out.ends_with('*') => {}
            '^' if out.ends_with('[') => out.push('!'),
            '\\' => match chars.next() {
                Some(next @ ('*' | '?' | '[')) => out.extend(['[', next, ']']),
                next => out.extend(next),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_sorted_and_skip_hidden_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".hidden.conf", "c.txt", "B.conf", "x[y].conf"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let find = |pattern: &str| -> Vec<String> {
            let found = Disk.glob(&format!("{}/{pattern}", dir.path().display())).unwrap();
            found
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect()
        };
        assert_eq!(find("*.conf"), ["B.conf", "a.conf", "b.conf", "x[y].conf"]);
        assert_eq!(find("**.txt"), ["c.txt"]);
        assert_eq!(find("[^ab].conf"), ["B.conf"]);
        assert_eq!(find(r"x\[*"), ["x[y].conf"]);
        assert_eq!(find("none*"), [""; 0]);
        assert_eq!(find("none"), ["none"]);
    }
}
