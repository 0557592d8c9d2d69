//! Owns how variables are named and looked up: rows in modules, slots for the configuration's own.
//!
//! Must not compute any variable; the rows stand beside the code they speak for.

use super::computed;
use super::request::Request;
use std::collections::{HashMap, HashSet};

/// Appends a variable's value. `suffix` is what follows a prefix row's name (`arg_`, `http_`).
/// Returns false when the variable is not found: it then counts as empty, and as `-` in logs.
pub type Getter = fn(req: &Request, suffix: &[u8], out: &mut Vec<u8>) -> bool;

/// A variable beside its code. A name that ends in `_` is a prefix.
#[derive(Debug)]
pub struct Variable {
    /// nginx's name, without `$`.
    pub name: &'static str,
    /// One sentence of documentation.
    pub doc: &'static str,
    /// How it is computed.
    pub get: Getter,
}

/// A reference to a variable, resolved when the configuration was loaded.
#[derive(Clone, Debug)]
pub enum Var {
    /// Computed by a row.
    Row(Getter),
    /// Computed by a prefix row, with the rest of the name in lower case.
    Prefix(Getter, Box<[u8]>),
    /// Kept in the request: named captures, not found until one has matched.
    Slot(usize),
    /// Kept in the request by `set`: empty, and worth a warning, until it has been set.
    Set(usize, Box<str>),
    /// The same for a name that a prefix row knows too: that one speaks while it has not been set.
    Weak(usize, Getter, Box<[u8]>),
    /// Computed by `map` and its kin; a number of `Snapshot::computed`.
    Computed(usize),
    /// `$1` … `$9` of the last regular expression.
    Capture(usize),
}

impl Var {
    /// Appends the value; false when not found.
    pub fn append(&self, req: &Request, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Row(get) => get(req, b"", out),
            Self::Prefix(get, suffix) => get(req, suffix, out),
            Self::Slot(slot) => slot_value(req, *slot, out),
            Self::Set(slot, name) => {
                slot_value(req, *slot, out) || super::modules::rewrite::uninitialized(req, name)
            }
            Self::Weak(slot, get, suffix) => slot_value(req, *slot, out) || get(req, suffix, out),
            Self::Computed(at) => computed::append(req, *at, out),
            Self::Capture(n) => push(req.captures.borrow().get(*n), out),
        }
    }
}

/// Appends what a slot holds; false when it is empty.
pub fn slot_value(req: &Request, slot: usize, out: &mut Vec<u8>) -> bool {
    req.slots.with(slot, |value| push(value, out))
}

/// Appends an optional value; the shape most getters end in.
pub fn push(value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    match value {
        Some(bytes) => {
            out.extend_from_slice(bytes);
            true
        }
        None => false,
    }
}

/// Names known while a configuration is being finished.
#[derive(Debug, Default)]
pub struct Names {
    slots: HashMap<String, usize>,
    defined: Vec<bool>,
    /// Slots that `set` has defined first: reading them too early is worth a warning.
    set: HashSet<usize>,
    /// Slots of computed variables, with their numbers.
    computed: HashMap<usize, usize>,
}

impl Names {
    /// The slot of a variable that the configuration itself defines.
    pub fn define(&mut self, name: &str) -> usize {
        let slot = self.slot(name);
        self.defined[slot] = true;
        slot
    }

    /// The same for `set`.
    pub fn define_set(&mut self, name: &str) -> usize {
        let slot = self.slot(name);
        if !self.defined[slot] {
            self.set.insert(slot);
        }
        self.define(name)
    }

    /// The slot and the number of a computed variable; the same ones when it is defined again.
    pub fn define_computed(&mut self, name: &str) -> (usize, usize) {
        let slot = self.define(name);
        let next = self.computed.len();
        (slot, *self.computed.entry(slot).or_insert(next))
    }

    /// How many slots a request needs.
    pub fn slots(&self) -> usize {
        self.defined.len()
    }

    /// The slot names that are used and never defined: nginx's `unknown "x" variable`.
    pub fn undefined(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().filter(|(_, slot)| !self.defined[**slot]).map(|(name, _)| name.as_str())
    }

    /// Resolves a name: a capture, a row, a prefix row, else a slot (checked when all is read).
    pub fn resolve(&mut self, name: &str) -> Var {
        self.find(name).unwrap_or_else(|| Var::Slot(self.slot(name)))
    }

    /// The same for a name that is found only while the server runs.
    pub fn find(&self, name: &str) -> Option<Var> {
        let name = name.to_ascii_lowercase();
        if let [digit @ b'0'..=b'9'] = name.as_bytes() {
            return Some(Var::Capture(usize::from(digit - b'0')));
        }
        // What the configuration defines wins over a prefix (`set $http_x …`), not over a row.
        if let Some(row) = rows().find(|row| row.name == name) {
            return Some(Var::Row(row.get));
        }
        let row = rows().find(|row| row.name.ends_with('_') && name.starts_with(row.name));
        let prefix = row.map(|row| (row.get, name.as_bytes()[row.name.len()..].into()));
        if let Some(slot) = self.slots.get(&name).copied().filter(|slot| self.defined[*slot]) {
            return Some(match self.computed.get(&slot) {
                Some(at) => Var::Computed(*at),
                None if self.set.contains(&slot) => match prefix {
                    Some((get, suffix)) => Var::Weak(slot, get, suffix),
                    None => Var::Set(slot, name.into()),
                },
                None => Var::Slot(slot),
            });
        }
        prefix.map(|(get, suffix)| Var::Prefix(get, suffix))
    }

    fn slot(&mut self, name: &str) -> usize {
        let next = self.defined.len();
        let slot = *self.slots.entry(name.to_ascii_lowercase()).or_insert(next);
        if slot == next {
            self.defined.push(false);
        }
        slot
    }
}

/// All variable rows of all modules.
pub fn rows() -> impl Iterator<Item = &'static Variable> {
    super::modules::VARIABLES.iter().flat_map(|rows| rows.iter())
}
