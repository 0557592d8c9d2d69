//! Owns the values of a request's own variables, by number: those of `set`, `map`, named captures.
//!
//! Must not know names; `vars` does.

use std::cell::RefCell;
use std::rc::Rc;

type Values = Vec<Option<Vec<u8>>>;

/// The values of a request; its subrequests see and change the same ones.
#[derive(Debug, Default)]
pub struct Slots(RefCell<Kept>);

/// Most requests have no subrequests and need nothing shared.
#[derive(Debug)]
enum Kept {
    Own(Values),
    Shared(Rc<RefCell<Values>>),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Own(Values::new())
    }
}

impl Slots {
    /// So many, all without a value.
    pub fn new(count: usize) -> Self {
        Self(RefCell::new(Kept::Own(vec![None; count])))
    }

    /// The same ones, for another request.
    #[must_use]
    pub fn share(&self) -> Self {
        let mut kept = self.0.borrow_mut();
        let shared = match &mut *kept {
            Kept::Own(values) => Rc::new(RefCell::new(std::mem::take(values))),
            Kept::Shared(values) => values.clone(),
        };
        *kept = Kept::Shared(shared.clone());
        Self(RefCell::new(Kept::Shared(shared)))
    }

    /// Gives a value to `look`; nothing if there is none.
    pub fn with<T>(&self, slot: usize, look: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let value = |values: &Values| look(values.get(slot).and_then(|value| value.as_deref()));
        match &*self.0.borrow() {
            Kept::Own(values) => value(values),
            Kept::Shared(values) => value(&values.borrow()),
        }
    }

    /// Replaces a value.
    pub fn set(&self, slot: usize, value: Option<Vec<u8>>) {
        let put = |values: &mut Values| {
            if let Some(place) = values.get_mut(slot) {
                *place = value;
            }
        };
        match &mut *self.0.borrow_mut() {
            Kept::Own(values) => put(values),
            Kept::Shared(values) => put(&mut values.borrow_mut()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_values_are_the_same_ones() {
        let own = Slots::new(2);
        own.set(0, Some(b"a".to_vec()));
        own.set(7, Some(b"nowhere".to_vec()));
        let read = |slots: &Slots, at| slots.with(at, |value| value.map(<[u8]>::to_vec));
        let inner = own.share();
        let innermost = inner.share();
        innermost.set(1, Some(b"b".to_vec()));
        inner.set(0, None);
        for slots in [&own, &inner, &innermost] {
            assert_eq!((read(slots, 0), read(slots, 1)), (None, Some(b"b".to_vec())));
            assert_eq!(read(slots, 7), None);
        }
    }
}
