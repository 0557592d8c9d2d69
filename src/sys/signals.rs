//! Real-time signals, which have numbers instead of names: here they count from `SIGRTMIN`.

use std::io;
use std::ops::RangeInclusive;

use nix::sys::signal::SigSet;

use super::process::Pid;

/// The signal that is the n-th after `SIGRTMIN`, which the C library has moved up for its own needs.
pub fn real_time(n: u8) -> i32 {
    libc::SIGRTMIN() + i32::from(n)
}

/// The other way round; `None` for signals with a name.
pub fn nth(number: i32) -> Option<u8> {
    u8::try_from(number.checked_sub(libc::SIGRTMIN())?).ok()
}

/// The same set with these as well.
pub fn with_real_time(set: &SigSet, numbers: RangeInclusive<u8>) -> io::Result<SigSet> {
    let mut all: libc::sigset_t = *set.as_ref();
    for n in numbers {
        // SAFETY: the set is initialized, and nobody else has it.
        if unsafe { libc::sigaddset(&raw mut all, real_time(n)) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: initialized above.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(all) })
}

/// Sends the n-th one.
pub fn send(pid: Pid, n: u8) -> io::Result<()> {
    // SAFETY: kill() has no memory to go wrong with.
    match unsafe { libc::kill(pid.as_raw(), real_time(n)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        assert_eq!([nth(real_time(0)), nth(real_time(2))], [Some(0), Some(2)]);
        assert_eq!(nth(libc::SIGTERM), None);
    }

    #[test]
    fn a_set_keeps_what_it_had() {
        let named = SigSet::from(nix::sys::signal::Signal::SIGHUP);
        let all = with_real_time(&named, 1..=2).unwrap();
        assert!(all.contains(nix::sys::signal::Signal::SIGHUP));
        assert!(with_real_time(&named, 200..=200).is_err());
    }
}
