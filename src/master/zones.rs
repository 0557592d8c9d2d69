//! The zones of keyed records that a generation has: those of the generation before where they are the
//! same, else new ones.
//!
//! Must not look at what is in them.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use super::generation::Base;
use crate::log::{ErrorLog, Level, os_error};
use crate::zone::keyed::{Holder, Keyed, Spec};

/// A zone, and the descriptor that others attach by.
#[derive(Clone, Debug)]
pub struct Zone {
    spec: Spec,
    pub fd: Rc<OwnedFd>,
    keyed: Rc<Keyed>,
}

impl Zone {
    fn new(spec: &Spec, fd: OwnedFd, keyed: Keyed) -> Zone {
        Zone { spec: spec.clone(), fd: Rc::new(fd), keyed: Rc::new(keyed) }
    }
}

/// The zones that a configuration needs, in its order. As in nginx, one goes on whose name, use and
/// size are the same, and then its key has to be the same as well; otherwise it begins empty. Unlike
/// nginx's they also go on over an upgrade.
pub fn open(wanted: &[Spec], base: Base<'_>, log: &ErrorLog) -> Result<Vec<Zone>, String> {
    wanted.iter().map(|spec| open_one(spec, base, log)).collect()
}

fn open_one(spec: &Spec, base: Base<'_>, log: &ErrorLog) -> Result<Zone, String> {
    let me = Holder::master(std::process::id());
    match base {
        Base::Running(old) => {
            if let Some(same) = old.zones().iter().find(|zone| zone.spec.is_like(spec)) {
                let unlike = same.spec.key != spec.key;
                return if unlike { Err(rebound(spec, &same.spec)) } else { Ok(same.clone()) };
            }
        }
        Base::Inherited { zones, .. } => {
            let found = zones.iter().find_map(|fd| {
                let keyed = Keyed::recognize(fd.as_fd(), spec, me)?;
                Some(Zone::new(spec, fd.try_clone().ok()?, keyed))
            });
            if let Some(zone) = found {
                return Ok(zone);
            }
            let (use_, name) = (spec.kind.directive(), shown(&spec.name));
            let text = "begins empty: the old master has none of this name, size, key and version";
            log.write(Level::Notice, None, format_args!("{use_} \"{name}\" {text}"));
        }
        Base::Nothing => {}
    }
    let created = Keyed::create(spec, me);
    let (fd, keyed) = created.map_err(|error| {
        let (name, cause) = (shown(&spec.name), os_error(&error));
        format!("memfd_create() of the zone \"{name}\" failed{cause}")
    })?;
    Ok(Zone::new(spec, fd, keyed))
}

/// The worker that had this slot is dead. To be called before the slot can be anybody else's.
pub fn bury(zones: &[Zone], slot: usize) {
    for zone in zones {
        zone.keyed.bury(slot);
    }
}

fn rebound(new: &Spec, old: &Spec) -> String {
    let (use_, name) = (new.kind.noun(), shown(&new.name));
    let (key, before) = (shown(&new.key), shown(&old.key));
    format!(
        "{use_} \"{name}\" uses the \"{key}\" key while previously it used the \"{before}\" key"
    )
}

fn shown(bytes: &[u8]) -> impl Display {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::keyed::Kind;

    fn spec() -> Spec {
        Spec { kind: Kind::Requests, name: b"one".into(), size: 32 << 10, key: b"$uri".into() }
    }

    fn log() -> ErrorLog {
        ErrorLog::new(Vec::new())
    }

    /// The records of the last of these, as the first of those that are opened for it.
    fn inherited(spec: &Spec, left: &[Spec]) -> u64 {
        let mut zones = Vec::new();
        for other in left {
            let zone = open_one(other, Base::Nothing, &log()).unwrap();
            zone.keyed.lock().unwrap().insert(zone.keyed.key(b"k"), 0, &[1, 2]);
            zones.push(zone.fd.try_clone().unwrap());
        }
        let base = Base::Inherited { sockets: &[], zones: &zones, patient: false };
        let found = open(std::slice::from_ref(spec), base, &log()).unwrap();
        found[0].keyed.lock().unwrap().used()
    }

    #[test]
    fn what_another_master_has_left_goes_on() {
        let others = [
            Spec { name: b"two".into(), ..spec() },
            Spec { size: 64 << 10, ..spec() },
            Spec { key: b"$args".into(), ..spec() },
            Spec { kind: Kind::Connections, ..spec() },
        ];
        assert_eq!(inherited(&spec(), &others), 0);
        assert_eq!(inherited(&spec(), &[others[0].clone(), spec()]), 1);
        assert_eq!(inherited(&spec(), &[]), 0);
    }

    #[test]
    fn another_key_is_named_as_in_nginx() {
        let text = rebound(&Spec { key: b"$args".into(), ..spec() }, &spec());
        let expected =
            "limit_req \"one\" uses the \"$args\" key while previously it used the \"$uri\" key";
        assert_eq!(text, expected);
        let kind = Kind::Connections;
        let text = rebound(&Spec { kind, ..spec() }, &spec());
        assert!(text.starts_with("limit_conn_zone \"one\" uses"), "{text}");
    }
}
