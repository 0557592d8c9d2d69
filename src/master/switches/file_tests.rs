//! What is read and refused; and the file's replacing, stopped and failed at each of its steps, with the
//! process alone gone and with the power gone.

use std::collections::BTreeMap;

use super::*;

const OLD: &[u8] = b"the old contents";
const NEW: &[u8] = b"the new contents, which are longer";
const PATH: &str = "/run/state";

/// A file system that remembers what is only in memory.
#[derive(Clone, Default)]
struct Model {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Pending>,
    calls: usize,
    /// The call at which the process is killed.
    killed_at: Option<usize>,
    /// The call that fails.
    fails_at: Option<usize>,
}

#[derive(Clone, Default)]
struct Contents {
    bytes: Vec<u8>,
    synced: bool,
}

/// A change of names that a loss of power may undo.
#[derive(Clone)]
enum Pending {
    Name(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Pending {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Pending::Name(path, file) => drop(names.insert(path.clone(), *file)),
            Pending::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Pending::Remove(path) => drop(names.remove(path)),
        }
    }
}

impl Model {
    /// With these contents, safe and sound, or without a file.
    fn with(contents: Option<&[u8]>) -> Model {
        let mut model = Model::default();
        if let Some(bytes) = contents {
            model.files.push(Contents { bytes: bytes.to_vec(), synced: true });
            model.names.insert(PATH.into(), 0);
            model.durable.insert(PATH.into(), 0);
        }
        model
    }

    /// Counts a call; says whether it is the one that is cut short.
    fn call(&mut self) -> io::Result<bool> {
        self.calls += 1;
        match self.killed_at {
            Some(at) if self.calls > at => Err(io::Error::other("dead")),
            Some(at) if self.calls == at => Ok(true),
            _ if self.fails_at == Some(self.calls) => Err(io::Error::from_raw_os_error(28)),
            _ => Ok(false),
        }
    }

    fn change(&mut self, pending: Pending) {
        pending.apply(&mut self.names);
        self.pending.push(pending);
    }

    fn seen(&self, path: &str) -> Option<Vec<u8>> {
        self.names.get(Path::new(path)).map(|file| self.files[*file].bytes.clone())
    }

    /// All that may be found under the name after a loss of power: any of the names that were not
    /// synced may have got lost, and of contents that were not, any part.
    fn after_power_loss(&self) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::new();
        for kept in 0..1_u32 << self.pending.len() {
            let mut names = self.durable.clone();
            for (at, pending) in self.pending.iter().enumerate() {
                if kept >> at & 1 == 1 {
                    pending.apply(&mut names);
                }
            }
            let Some(file) = names.get(Path::new(PATH)) else {
                found.push(None);
                continue;
            };
            let Contents { bytes, synced } = &self.files[*file];
            found.push(Some(bytes.clone()));
            if !synced {
                found.extend((0..bytes.len()).map(|length| Some(bytes[..length].to_vec())));
            }
        }
        found
    }
}

impl Disk for Model {
    type File = usize;

    fn create(&mut self, path: &Path) -> io::Result<usize> {
        if self.call()? {
            return Err(io::Error::other("dead"));
        }
        self.files.push(Contents::default());
        let file = self.files.len() - 1;
        self.change(Pending::Name(path.to_owned(), file));
        Ok(file)
    }

    fn write(&mut self, file: &mut usize, bytes: &[u8]) -> io::Result<()> {
        let length = if self.call()? { bytes.len() / 2 } else { bytes.len() };
        self.files[*file].bytes.extend_from_slice(&bytes[..length]);
        Ok(())
    }

    fn sync(&mut self, file: &mut usize) -> io::Result<()> {
        self.files[*file].synced = !self.call()?;
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.call()? {
            let file = *self.names.get(from).ok_or(ErrorKind::NotFound)?;
            self.change(Pending::Rename(from.to_owned(), to.to_owned(), file));
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        if !self.call()? {
            self.change(Pending::Remove(path.to_owned()));
        }
        Ok(())
    }

    fn sync_names(&mut self, _: &Path) -> io::Result<()> {
        if !self.call()? {
            self.durable = self.names.clone();
            self.pending.clear();
        }
        Ok(())
    }
}

/// What replacing takes when nothing goes wrong.
const CALLS: usize = 5;

#[test]
fn what_has_been_replaced_survives_a_loss_of_power() {
    for before in [None, Some(OLD)] {
        let mut model = Model::with(before);
        replace(&mut model, Path::new(PATH), before, NEW).unwrap();
        assert_eq!(model.calls, CALLS);
        assert!(model.after_power_loss().iter().all(|found| found.as_deref() == Some(NEW)));
        assert_eq!(model.names.len(), 1, "nothing is left behind");
    }
}

#[test]
fn who_is_killed_at_any_step_leaves_the_old_or_the_new() {
    for before in [None, Some(OLD)] {
        for step in 1..=CALLS {
            let mut model = Model { killed_at: Some(step), ..Model::with(before) };
            let _ = replace(&mut model, Path::new(PATH), before, NEW);
            let whole = |found: &Option<Vec<u8>>| {
                found.as_deref() == before || found.as_deref() == Some(NEW)
            };
            assert!(whole(&model.seen(PATH)), "killed at {step}");
            for found in model.after_power_loss() {
                assert!(whole(&found), "power lost at {step}: {found:?}");
            }
            // Whatever was left behind is in nobody's way.
            let mut next = Model { killed_at: None, ..model };
            let seen = next.seen(PATH);
            replace(&mut next, Path::new(PATH), seen.as_deref(), NEW).unwrap();
            assert_eq!(next.seen(PATH).as_deref(), Some(NEW));
            assert_eq!(next.names.len(), 1);
        }
    }
}

#[test]
fn what_fails_at_any_step_changes_nothing() {
    for before in [None, Some(OLD)] {
        for step in 1..=CALLS {
            let mut model = Model { fails_at: Some(step), ..Model::with(before) };
            let error = replace(&mut model, Path::new(PATH), before, NEW).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(28), "step {step}");
            assert_eq!(model.seen(PATH).as_deref(), before, "step {step}");
            assert!(!model.names.contains_key(&aside(Path::new(PATH))), "step {step}");
        }
    }
}

#[test]
fn the_system_does_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    fs::write(aside(&path), "left behind").unwrap();
    replace(&mut System, &path, None, OLD).unwrap();
    replace(&mut System, &path, Some(OLD), NEW).unwrap();
    assert_eq!(fs::read(&path).unwrap(), NEW);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let error = replace(&mut System, &dir.path().join("no/state"), None, NEW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs::create_dir(aside(&path)).unwrap();
    assert!(replace(&mut System, &path, Some(NEW), OLD).is_err());
    assert_eq!(fs::read(&path).unwrap(), NEW);
}

fn order() -> Order {
    Order {
        state: State::Closed,
        epoch: 3,
        since: 100,
        until: Some(1900),
        auto_off: true,
        no_bypass: true,
        reason: "moving \"house\"".into(),
        allow: vec![network("192.0.2.0/24").unwrap(), network("::1").unwrap()],
        revoked: 4,
    }
}

#[test]
fn what_is_put_down_is_read_again() {
    let mut document = Document::default();
    document.put("shop", &order());
    document.put("default", &Order::default());
    let read = Document::decode(&document.encode()).unwrap();
    assert_eq!(read, document);
    let orders: Vec<_> = read.orders().collect();
    assert_eq!(orders, [("default", Order::default()), ("shop", order())]);
    assert!(read.has("shop") && !read.has("other"));
}

#[test]
fn what_a_later_version_has_added_is_kept() {
    let text =
        r#"{"version":1,"mirrors":{"a":[1]},"switches":{"shop":{"state":"open","slot":"new"}}}"#;
    let mut document = Document::decode(text.as_bytes()).unwrap();
    assert_eq!(document.orders().next(), Some(("shop", Order::default())));
    document.put("shop", &order());
    document.put("more", &order());
    document.forget("more");
    let value: Value = serde_json::from_slice(&document.encode()).unwrap();
    assert_eq!(value["mirrors"]["a"][0], 1);
    assert_eq!(value["switches"]["shop"]["slot"], "new");
    assert_eq!(value["switches"]["shop"]["state"], "closed");
    assert_eq!(value["switches"].as_object().unwrap().len(), 1);
}

fn wrong(text: &str) -> String {
    Document::decode(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_file_that_tells_nothing_is_refused() {
    for (text, why) in [
        ("", "is damaged: EOF while parsing a value at line 1 column 0"),
        ("{\"version\":1,\"switches\":{\"defau", "is damaged: EOF while parsing a string"),
        ("{\"version\":1}garbage", "is damaged: trailing characters"),
        ("[]", "is damaged: it has no version"),
        ("{\"version\":0}", "is damaged: it has no version"),
        ("{\"version\":2,\"switches\":7}", "is of version 2, this program knows version 1"),
        ("{\"version\":1,\"switches\":7}", "is damaged: invalid type: integer `7`"),
        (
            "{\"version\":1,\"switches\":{\"a\":{\"state\":\"ajar\"}}}",
            "is damaged: switch \"a\": unknown state \"ajar\"",
        ),
        (
            "{\"version\":1,\"switches\":{\"a\":{\"state\":\"closed\",\"allow\":[\"x\"]}}}",
            "is damaged: switch \"a\": no network: \"x\"",
        ),
        (
            "{\"version\":1,\"switches\":{\"\":{\"state\":\"open\"}}}",
            "is damaged: switch \"\": its name",
        ),
    ] {
        assert!(wrong(text).starts_with(why), "{text}: {}", wrong(text));
    }
    let many: BTreeMap<String, Value> =
        (0..65).map(|n| (n.to_string(), serde_json::json!({ "state": "open" }))).collect();
    let text = serde_json::json!({ "version": 1, "switches": many }).to_string();
    assert_eq!(wrong(&text), "is damaged: more than 64 switches");
    let long = serde_json::json!({ "version": 1, "switches": { "a": {
        "state": "closed", "reason": "x".repeat(256) } } });
    assert!(wrong(&long.to_string()).ends_with("its reason or list is too long"));
}

#[test]
fn cut_at_any_place_it_is_refused() {
    let mut document = Document::default();
    document.put("default", &order());
    let text = document.encode();
    for length in 0..text.len() - 2 {
        assert!(Document::decode(&text[..length]).is_err(), "{length}");
    }
}

#[test]
fn no_file_is_an_empty_one_and_other_trouble_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    assert_eq!(Document::read(&path).unwrap(), Document::default());
    let error = Document::read(dir.path()).unwrap_err().to_string();
    assert_eq!(error, "cannot be read (21: Is a directory)");
    File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
    assert_eq!(Document::read(&path).unwrap_err().to_string(), "is damaged: it is too large");
}
