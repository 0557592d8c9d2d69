//! Memory shared between processes: a sealed-in-size memory file, seen as 64-bit atomics. And the
//! allocator's: what it holds and nobody uses.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Gives memory that was freed back to the system now: after much has been used for a short while, as
/// for a configuration.
pub fn give_back() {
    // SAFETY: it may be called at any time by any thread; it frees nothing that is in use.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

const WORD: usize = size_of::<AtomicU64>();

/// A shared mapping. Its length never changes, in any process: the file is sealed against it, so
/// that no access can meet SIGBUS.
#[derive(Debug)]
pub struct Mapping {
    map: MmapRaw,
}

impl Mapping {
    /// Makes a zeroed region of `words` 64-bit words; the descriptor lets others attach.
    pub fn create(name: &str, words: usize) -> io::Result<(OwnedFd, Mapping)> {
        let name = CString::new(name)?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(name.as_c_str(), flags)?);
        file.set_len((words * WORD) as u64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let mapping = Mapping::attach(file.as_fd())?;
        Ok((file.into(), mapping))
    }

    /// Maps a region made by [`create`](Self::create), here or in another process. Refuses files that
    /// someone could still shrink.
    pub fn attach(fd: BorrowedFd<'_>) -> io::Result<Mapping> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let seals = SealFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GET_SEALS)?);
        if !seals.contains(SealFlag::F_SEAL_SHRINK) {
            return invalid("shared memory is not sealed");
        }
        let file = File::from(fd.try_clone_to_owned()?);
        if file.metadata()?.len() < WORD as u64 {
            return invalid("shared memory is empty");
        }
        Ok(Mapping { map: MmapOptions::new().map_raw(&file)? })
    }

    /// The region as words.
    pub fn words(&self) -> &[AtomicU64] {
        let start: *const AtomicU64 = self.map.as_ptr().cast();
        // SAFETY: a mapping is page-aligned, as long as `map` says, lives as long as `self`, and is
        // only ever touched through atomics, in every process; any bit pattern is a valid word.
        unsafe { std::slice::from_raw_parts(start, self.map.len() / WORD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn mappings_share_and_cannot_shrink() {
        let (fd, ours) = Mapping::create("shared", 1000).unwrap();
        let theirs = Mapping::attach(fd.as_fd()).unwrap();
        assert_eq!((ours.words().len(), theirs.words().len()), (1000, 1000));
        theirs.words()[999].fetch_add(3, Ordering::Relaxed);
        assert_eq!(ours.words()[999].load(Ordering::Relaxed), 3);
        assert!(File::from(fd).set_len(8).is_err());
    }

    #[test]
    fn unsealed_memory_is_refused() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"loose", flags).unwrap());
        file.set_len(4096).unwrap();
        assert!(Mapping::attach(file.as_fd()).is_err());
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Mapping::attach(socket.as_fd()).is_err());
    }
}
