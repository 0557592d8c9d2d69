//! Owns what can be chosen, finding the programs, and making a second version of proxyd.

use crate::Outcome;
use memchr::memmem;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Haproxy,
    /// Seconds of `upgrade_watch`.
    Proxyd {
        watch: u8,
    },
}

/// A server that can be started, and what it is upgraded to and back from.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: &'static str,
    pub kind: Kind,
    pub programs: [PathBuf; 2],
}

pub struct Options {
    pub subjects: Vec<Subject>,
    /// Sentences about programs that are not there.
    pub missing: Vec<String>,
    /// What is measured; everything when empty.
    parts: Vec<String>,
    /// Holds the second version.
    _dir: tempfile::TempDir,
}

impl Options {
    /// From environment variables; words of the command line choose parts.
    pub fn new() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let words = env::args().skip(1).filter(|word| !word.starts_with('-'));
        let (mut subjects, mut missing) = (Vec::new(), Vec::new());
        // Cargo builds it for this benchmark, in the same profile.
        let built = option_env!("CARGO_BIN_EXE_proxyd").unwrap_or("target/release/proxyd");
        for (variable, default) in [("NGINX", "nginx"), ("HAPROXY", "haproxy"), ("PROXYD", built)] {
            match find(variable, default) {
                Err(sentence) => missing.push(sentence),
                Ok(program) => subjects.extend(subjects_of(variable, &program, dir.path())?),
            }
        }
        Ok(Self { subjects, missing, parts: words.collect(), _dir: dir })
    }

    pub fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    /// Without what differs only in how long an upgrade is watched.
    pub fn unwatched(&self) -> Vec<Subject> {
        let watched = |subject: &&Subject| matches!(subject.kind, Kind::Proxyd { watch: 1.. });
        self.subjects.iter().filter(|subject| !watched(subject)).cloned().collect()
    }
}

fn subjects_of(variable: &str, program: &Path, dir: &Path) -> Outcome<Vec<Subject>> {
    let same = [program.to_owned(), program.to_owned()];
    let subject = |name, kind, programs| Subject { name, kind, programs };
    Ok(match variable {
        "NGINX" => vec![subject("nginx", Kind::Nginx, same)],
        "HAPROXY" => vec![subject("haproxy", Kind::Haproxy, same)],
        _ => {
            let programs = [program.to_owned(), second_version(program, dir)?];
            let watched = "proxyd, upgrade_watch 1s";
            vec![
                subject("proxyd", Kind::Proxyd { watch: 0 }, programs.clone()),
                subject(watched, Kind::Proxyd { watch: 1 }, programs),
            ]
        }
    })
}

/// A path as it is, a bare name in `PATH` or where Debian keeps servers.
fn find(variable: &str, default: &str) -> Result<PathBuf, String> {
    let wanted = env::var_os(variable).map_or_else(|| default.into(), PathBuf::from);
    let found = if wanted.components().count() > 1 {
        wanted.canonicalize().ok()
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        places.map(|place| place.join(&wanted)).find(|program| program.is_file())
    };
    found.ok_or_else(|| {
        let (wanted, lower) = (wanted.display(), variable.to_lowercase());
        format!("{lower} is left out, there is no {wanted} (install it, or set {variable})")
    })
}

/// The first line of `-v`, which all of them know.
pub fn version(program: &Path) -> Outcome<String> {
    let output = Command::new(program).arg("-v").output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    Ok(line.split(" https://").next().unwrap_or_default().to_owned())
}

/// The same program with the last digit of its version changed, wherever that is written in it.
fn second_version(program: &Path, dir: &Path) -> Outcome<PathBuf> {
    let said = version(program)?;
    let number = said.rsplit_once("proxyd/").map_or("", |(_, rest)| rest.trim_end_matches(')'));
    let last = number.bytes().last().filter(u8::is_ascii_digit);
    let last = last.ok_or_else(|| format!("{} has no version: {said}", program.display()))?;
    let mut bytes = fs::read(program)?;
    let places: Vec<usize> = memmem::find_iter(&bytes, number).collect();
    for place in places {
        bytes[place + number.len() - 1] = if last == b'9' { b'8' } else { last + 1 };
    }
    let copy = dir.join("proxyd");
    fs::write(&copy, bytes)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    if version(&copy)? == said {
        return Err("the version could not be changed in a copy of proxyd".into());
    }
    Ok(copy)
}
