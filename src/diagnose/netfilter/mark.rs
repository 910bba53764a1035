//! The mark of a packet on its walk: what it may be, where not all that changes it is understood.

use std::collections::BTreeSet;

use super::truth::Truth;
use super::{Marking, Value};

/// The marks that a packet may have.
pub(super) struct Marks {
    /// One of these,
    some: BTreeSet<u32>,
    /// or any at all.
    is_any: bool,
}

impl Default for Marks {
    fn default() -> Self {
        Self { some: [0].into(), is_any: false }
    }
}

/// Of more marks than this it is not known any more which they are.
const MARKS: usize = 64;

impl Marks {
    /// What a rule makes of them, if it fits or if it may, of a packet whose connection may have a mark or has none.
    pub(super) fn change(&mut self, marking: Marking, has_connection_mark: bool, fits: Truth) {
        let (keep, flip) = match marking {
            Marking::Bits { keep, flip } => (keep, flip),
            Marking::OfConnection { keep } if !has_connection_mark => (keep, 0),
            Marking::OfConnection { .. } | Marking::Unknown => {
                self.is_any = true;
                return;
            }
        };
        let changed: BTreeSet<u32> = self.some.iter().map(|mark| (mark & keep) ^ flip).collect();
        if fits == Truth::Yes {
            self.is_any &= keep != 0;
            self.some = changed;
        } else {
            self.some.extend(changed);
        }
        self.is_any |= self.some.len() > MARKS;
    }

    /// Whether the mark behind a mask is one of some values.
    pub(super) fn fits(&self, mask: u32, value: &Value) -> Truth {
        let Value::Range(first, last) = value else {
            return Truth::Maybe;
        };
        let one = |mark: &u32| (*first..=*last).contains(&(mark & mask));
        let fitting = self.some.iter().filter(|mark| one(mark)).count();
        if self.is_any {
            Truth::Maybe
        } else if fitting == 0 {
            Truth::No
        } else if fitting == self.some.len() {
            Truth::Yes
        } else {
            Truth::Maybe
        }
    }
}
