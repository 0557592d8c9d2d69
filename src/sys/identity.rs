//! Users, groups, and giving privileges up.

use std::ffi::CString;
use std::io;

use nix::unistd::{self, Gid, Group, Uid};
use serde::{Deserialize, Serialize};

/// An entry of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// Who a worker becomes: resolved by the master, since the worker may not be able to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, `gid` among them: what initgroups(3) would set.
    pub groups: Vec<u32>,
}

impl Identity {
    /// `user`, in its own group or in `gid` (the second argument of the `user` directive).
    pub fn resolve(user: &User, gid: Option<u32>) -> io::Result<Identity> {
        let gid = gid.unwrap_or(user.gid);
        let name = CString::new(user.name.as_str())?;
        let groups = unistd::getgrouplist(&name, Gid::from_raw(gid))?;
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        Ok(Identity { uid: user.uid, gid, groups })
    }
}

/// The user of that name; `None` if there is none (nginx: `getpwnam("name") failed`).
pub fn lookup_user(name: &str) -> io::Result<Option<User>> {
    let found = unistd::User::from_name(name)?;
    Ok(found.map(|user| User { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
}

/// The id of the group of that name; `None` if there is none (nginx: `getgrnam("name") failed`).
pub fn lookup_group(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

/// True if this process may change its identity at all.
pub fn is_root() -> bool {
    unistd::geteuid().is_root()
}

/// Becomes `identity` for good: supplementary groups, then group, then user, each as real, effective
/// and saved id; then makes sure of it. The kernel clears the capabilities when root is left.
/// After an error the process must exit: it may be half-way.
pub fn drop_to(identity: &Identity) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    unistd::setgroups(&groups)?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    verify(uid, gid, &groups)
}

fn verify(uid: Uid, gid: Gid, groups: &[Gid]) -> io::Result<()> {
    let (users, ids) = (unistd::getresuid()?, unistd::getresgid()?);
    let mut expected = groups.to_vec();
    let mut found = unistd::getgroups()?;
    expected.sort_by_key(|gid| gid.as_raw());
    found.sort_by_key(|gid| gid.as_raw());
    let same = [users.real, users.effective, users.saved] == [uid; 3]
        && [ids.real, ids.effective, ids.saved] == [gid; 3]
        && expected == found;
    // The last word: a process that can become root again has given nothing up.
    if !same || (!uid.is_root() && unistd::setuid(Uid::from_raw(0)).is_ok()) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "privileges were not dropped"));
    }
    Ok(())
}

/// No program run from here can gain privileges (set-user-id files are run without it). Inherited
/// for ever, so never for the master.
pub fn no_new_privs() -> io::Result<()> {
    Ok(nix::sys::prctl::set_no_new_privs()?)
}

/// Keeps other processes of the same user out of this one's memory (ptrace, `/proc/PID/mem`, core
/// files). Undone by exec.
pub fn not_dumpable() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::{is_alone, passes_alone};

    #[test]
    fn looks_up() {
        let root = lookup_user("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(lookup_user("no-such-user").unwrap(), None);
        assert_eq!(lookup_group("root").unwrap(), Some(0));
        assert_eq!(lookup_group("no-such-group").unwrap(), None);
    }

    #[test]
    fn groups_hold_the_primary_one() {
        let root = lookup_user("root").unwrap().unwrap();
        assert!(Identity::resolve(&root, Some(7)).unwrap().groups.contains(&7));
    }

    #[test]
    fn drops() {
        if is_root() {
            passes_alone("sys::identity::tests::drops_in_its_own_process");
        }
    }

    #[test]
    fn drops_in_its_own_process() {
        if !is_alone() {
            return;
        }
        drop_to(&Identity { uid: 65534, gid: 65533, groups: vec![65533, 12] }).unwrap();
        not_dumpable().unwrap();
        no_new_privs().unwrap();
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        assert_eq!(line("Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(line("Gid:"), "65533\t65533\t65533\t65533");
        assert_eq!(line("Groups:"), "12 65533");
        assert_eq!(line("CapEff:"), "0000000000000000");
        assert_eq!(line("NoNewPrivs:"), "1");
        assert!(drop_to(&Identity { uid: 0, gid: 0, groups: vec![] }).is_err());
    }
}
