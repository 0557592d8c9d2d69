//! Owns memory that has been used and will be again: what one request leaves, the next one takes, so
//! that a worker under a steady load asks for none.
//!
//! Must not know what it keeps; who gives something back has emptied it.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Kept of each kind at most; a burst that needs more gives the rest back to the allocator.
const MOST: usize = 128;

/// The longest buffer that is kept, in bytes.
const LONGEST: usize = 64 * 1024;

/// Things of one kind, for one thread.
#[derive(Debug)]
pub struct Spare<T>(RefCell<Vec<T>>);

impl<T> Spare<T> {
    /// None yet.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// The one that came back last, whose memory is most likely still at hand.
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().pop()
    }

    /// Keeps it, if there is room.
    pub fn keep(&self, thing: T) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < MOST {
            kept.push(thing);
        }
    }
}

thread_local! {
    static BUFFERS: Spare<Vec<u8>> = const { Spare::new() };
}

/// Bytes on their way, in memory that goes on to somebody else when it is dropped.
#[derive(Debug, Default)]
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty one; it has memory if one that had is spare.
    pub fn spare() -> Self {
        Self(BUFFERS.try_with(Spare::take).ok().flatten().unwrap_or_default())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() > 0 && self.0.capacity() <= LONGEST {
            self.0.clear();
            let bytes = std::mem::take(&mut self.0);
            // A thread that ends has no more use for it.
            let _ = BUFFERS.try_with(|spare| spare.keep(bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_so_much_is_kept() {
        let spare = Spare::new();
        assert!(spare.take().is_none());
        for number in 0..=MOST {
            spare.keep(number);
        }
        assert_eq!(spare.take(), Some(MOST - 1));
    }

    #[test]
    fn buffers_come_back_empty_and_not_too_long() {
        let mut buffer = Buffer::spare();
        buffer.extend_from_slice(&[1; 1000]);
        let at = buffer.as_ptr();
        drop(buffer);
        let mut again = Buffer::spare();
        assert!(again.is_empty() && again.as_ptr() == at);
        again.reserve(LONGEST + 1);
        drop(again);
        assert_eq!(Buffer::spare().capacity(), 0);
    }
}
