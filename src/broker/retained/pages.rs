//! A list whose clones share its pages until one of them changes: a clone costs a reference count for each page.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

/// So many are copied when one of them changes. Fewer would make clones dearer, more the first changes after them.
const PAGE: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Pages<T> {
    pages: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T: Clone> Pages<T> {
    /// With one in it.
    pub(super) fn of(first: T) -> Self {
        let mut this = Self {
            pages: Vec::new(),
            len: 0,
        };
        this.push(first);
        this
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, item: T) {
        if self.len.is_multiple_of(PAGE) {
            self.pages.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        if let Some(page) = self.pages.last_mut() {
            Arc::make_mut(page).push(item);
            self.len += 1;
        }
    }
}

impl<T> Index<usize> for Pages<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        &self.pages[at / PAGE][at % PAGE]
    }
}

impl<T: Clone> IndexMut<usize> for Pages<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.pages[at / PAGE])[at % PAGE]
    }
}
