//! Owns one module's share of a block: what is written there, and what comes of it. Blocks in which
//! nothing is written for a module have it in common, however many there are.
//!
//! Must not know any module.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What a block where nothing is written for a module says.
pub trait Blank: Default + Clone + 'static {
    /// The one for all such blocks.
    fn blank() -> &'static Self;
}

/// What is written for one module in one block. To change it makes a copy, if others have it too.
#[derive(Debug, Clone)]
pub struct Part<D>(Option<Arc<D>>);

/// What has been taken over and compiled before, by what it was made from.
#[derive(Debug)]
pub struct Seen<D, C> {
    inherited: HashMap<usize, Part<D>>,
    finished: HashMap<usize, Arc<C>>,
}

impl<D> Default for Part<D> {
    fn default() -> Self {
        Self(None)
    }
}

impl<D, C> Default for Seen<D, C> {
    fn default() -> Self {
        Self { inherited: HashMap::new(), finished: HashMap::new() }
    }
}

impl<D: Blank> Deref for Part<D> {
    type Target = D;

    fn deref(&self) -> &D {
        self.0.as_deref().unwrap_or_else(|| D::blank())
    }
}

impl<D: Blank> DerefMut for Part<D> {
    fn deref_mut(&mut self) -> &mut D {
        Arc::make_mut(self.0.get_or_insert_with(Arc::default))
    }
}

impl<D: Blank> Part<D> {
    /// Whether anything is written, here or in an outer block.
    pub fn is_written(&self) -> bool {
        self.0.is_some()
    }

    /// Tells parts from one another that are not the same one.
    fn key(&self) -> usize {
        self.0.as_ref().map_or(0, |draft| Arc::as_ptr(draft).addr())
    }

    /// Takes over what the outer block says, as `inherit` does it. Those who say nothing themselves
    /// share what comes of it; `seen` must not outlive the outer blocks.
    pub fn inherit<C>(
        &mut self,
        outer: &Self,
        seen: &mut Seen<D, C>,
        inherit: impl FnOnce(&mut D, &D),
    ) {
        if self.0.is_some() {
            return inherit(self, outer);
        }
        if outer.0.is_none() {
            return;
        }
        let taken = seen.inherited.entry(outer.key()).or_insert_with(|| {
            let mut draft = D::default();
            inherit(&mut draft, outer);
            Self(Some(Arc::new(draft)))
        });
        *self = taken.clone();
    }

    /// What comes of it: compiled once for all who share it, unless it depends on the block as well.
    pub fn finish<C>(
        &self,
        seen: &mut Seen<D, C>,
        depends: bool,
        finish: impl FnOnce(&D) -> C,
    ) -> Arc<C> {
        if depends {
            return Arc::new(finish(self));
        }
        seen.finished.entry(self.key()).or_insert_with(|| Arc::new(finish(self))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    #[derive(Debug, Default, Clone, PartialEq)]
    struct Draft {
        word: Option<u32>,
    }

    fn saying(word: u32) -> Draft {
        Draft { word: Some(word) }
    }

    impl Blank for Draft {
        fn blank() -> &'static Self {
            static BLANK: LazyLock<Draft> = LazyLock::new(Draft::default);
            &BLANK
        }
    }

    fn inherit(own: &mut Draft, outer: &Draft) {
        own.word = own.word.or(outer.word);
    }

    #[test]
    fn those_who_say_nothing_share_what_they_take_over() {
        let (mut outer, mut seen) = (Part::<Draft>::default(), Seen::<Draft, u32>::default());
        *outer = saying(1);
        let mut inner = [Part::default(), Part::default(), Part::default()];
        *inner[2] = saying(2);
        for part in &mut inner {
            part.inherit(&outer, &mut seen, inherit);
        }
        let [first, second, third] = &inner;
        assert_eq!((&**first, second.key()), (&saying(1), first.key()));
        assert_eq!(**third, saying(2));
        let mut compiled = 0;
        for part in &inner {
            part.finish(&mut seen, false, |draft| {
                compiled += 1;
                draft.word.unwrap_or(0)
            });
        }
        assert_eq!(compiled, 2);
    }

    #[test]
    fn a_change_does_not_touch_the_others() {
        let mut one = Part::<Draft>::default();
        assert_eq!(*one, Draft::default());
        one.word = Some(1);
        let mut other = one.clone();
        other.word = Some(2);
        assert_eq!((&*one, &*other), (&saying(1), &saying(2)));
    }
}
