//! Owns the list of what this worker has under way with upstreams: for people who want to know what
//! it is that they wait for, and for cutting it off.
//!
//! Must not be what a proof rests on: the counts of `zone::gates` are. Must not allocate for a
//! request: places are used again.

use super::client::Client;
use super::method::{METHODS, Method};
use crate::upstream::{Group, PeerName, PeerRef};
use crate::zone::Switch;
use crate::zone::gates::Class;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// Bytes of a path that are kept.
const PATH: usize = 80;

/// One exchange that is counted somewhere.
pub struct Entry {
    pub switch: Switch,
    pub class: Class,
    pub method: Method,
    /// When the request began.
    pub began: Instant,
    /// Whose it is.
    pub client: Rc<Client>,
    /// Whom it asks, from the first try on.
    asked: Option<(Rc<Group>, PeerName)>,
    path: [u8; PATH],
    length: u8,
    /// The path went on.
    longer: bool,
}

impl Entry {
    /// One of which it is not known yet whom it will ask.
    pub fn new(
        switch: Switch,
        class: Class,
        method: Method,
        began: Instant,
        client: Rc<Client>,
    ) -> Self {
        let (path, length, longer) = ([0; PATH], 0, false);
        Self { switch, class, method, began, client, asked: None, path, length, longer }
    }

    /// Keeps the beginning of a path.
    #[must_use]
    pub fn at(mut self, path: &[u8]) -> Self {
        let kept = path.len().min(PATH);
        self.path[..kept].copy_from_slice(&path[..kept]);
        self.length = u8::try_from(kept).unwrap_or(0);
        self.longer = path.len() > kept;
        self
    }

    /// The name of the group it asks; nothing before the first try.
    pub fn upstream(&self) -> &str {
        self.asked.as_ref().map_or("", |(group, _)| group.name())
    }

    /// The address that it asks, likewise.
    pub fn server(&self) -> String {
        self.asked.as_ref().map_or_else(String::new, |(_, peer)| peer.to_string())
    }

    /// The spelling of its method.
    pub fn method_name(&self) -> &'static str {
        METHODS.iter().find(|(_, method)| *method == self.method).map_or("other", |(name, _)| *name)
    }

    /// Its path as it can be shown: what is no graphic character is a question mark.
    pub fn path(&self) -> String {
        let text = String::from_utf8_lossy(&self.path[..usize::from(self.length)]);
        let plain =
            |letter: char| if letter.is_control() || letter == '\u{fffd}' { '?' } else { letter };
        text.chars().map(plain).chain(self.longer.then_some('…')).collect()
    }
}

/// The place of an entry, until it is taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(usize);

/// What is under way.
#[derive(Default)]
pub struct Roster {
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
}

impl Roster {
    /// Puts one on the list.
    pub fn add(&self, entry: Entry) -> Place {
        let mut inner = self.inner.borrow_mut();
        if let Some(at) = inner.free.pop() {
            inner.entries[at] = Some(entry);
            return Place(at);
        }
        inner.entries.push(Some(entry));
        Place(inner.entries.len() - 1)
    }

    /// Takes it off.
    pub fn remove(&self, place: Place) {
        let mut inner = self.inner.borrow_mut();
        // What is dropped may be the last of a group: not while the list is borrowed.
        let gone = inner.entries.get_mut(place.0).and_then(Option::take);
        if gone.is_some() {
            inner.free.push(place.0);
        }
        drop(inner);
        drop(gone);
    }

    /// It asks this server now.
    pub fn asks(&self, place: Place, group: &Rc<Group>, peer: &PeerRef) {
        let asked = Some((group.clone(), peer.lasting_name()));
        let before = self.change(place, |entry| std::mem::replace(&mut entry.asked, asked));
        drop(before);
    }

    /// It is counted as something else from now on.
    pub fn reclass(&self, place: Place, class: Class) {
        self.change(place, |entry| entry.class = class);
    }

    fn change<T>(&self, place: Place, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.inner.borrow_mut().entries.get_mut(place.0)?.as_mut().map(change)
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        let inner = self.inner.borrow();
        inner.entries.len() == inner.free.len()
    }

    /// Looks at all, in no order.
    pub fn each(&self, mut look: impl FnMut(&Entry)) {
        self.inner.borrow().entries.iter().flatten().for_each(&mut look);
    }

    /// Ends the connections of those clients whose requests these are; how many requests. Their own
    /// tasks do it, when they run.
    pub fn cut(&self, which: impl Fn(&Entry) -> bool) -> u64 {
        let mut cut = 0;
        self.each(|entry| {
            if which(entry) {
                entry.client.cut();
                cut += 1;
            }
        });
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Peer;
    use crate::zone::Gates;

    fn entry(path: &[u8]) -> Entry {
        let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let stream = tokio::net::UnixStream::from_std(near).unwrap().into();
        let bound = crate::net::Address::Inet(std::net::SocketAddr::from(([0; 4], 80)));
        let client = Rc::new(Client::new(1, stream, Peer::Unix, bound.into()));
        let switch = Gates::create().unwrap().1.default_switch();
        Entry::new(switch, Class::Read, Method::Patch, Instant::now(), client).at(path)
    }

    fn paths(roster: &Roster) -> Vec<String> {
        let mut all = Vec::new();
        roster.each(|entry| all.push(entry.path()));
        all
    }

    #[tokio::test]
    async fn places_are_used_again() {
        let roster = Roster::default();
        let [first, second] = [b"/a", b"/b"].map(|path| roster.add(entry(path)));
        roster.remove(first);
        roster.remove(first);
        assert!(!roster.is_empty());
        assert_eq!(paths(&roster), ["/b"]);
        assert_eq!(roster.add(entry(b"/c")), first);
        assert_eq!(paths(&roster), ["/c", "/b"]);
        roster.reclass(second, Class::Stream);
        assert_eq!(roster.cut(|entry| entry.class == Class::Stream), 1);
        roster.each(|entry| assert_eq!(entry.client.is_cut(), entry.class == Class::Stream));
    }

    #[tokio::test]
    async fn paths_can_be_shown() {
        assert_eq!(entry(b"/ok").method_name(), "PATCH");
        assert_eq!(entry("/ö\n\x1b[1m\u{7f}".as_bytes()).path(), "/ö??[1m?");
        assert_eq!(entry(b"/\xff").path(), "/?");
        let long = entry("x".repeat(81).as_bytes()).path();
        assert_eq!((long.chars().count(), long.ends_with("x…")), (81, true));
        assert!(entry("x".repeat(80).as_bytes()).path().ends_with('x'));
    }
}
