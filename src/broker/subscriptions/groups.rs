//! Which sessions share a group: the groups by their texts, and how many are in each.

use crate::broker::router::GroupKey;
use bytestring::ByteString;
use std::collections::HashMap;

/// The groups: share name and filter, and how many sessions are in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups {
    /// By the whole text, `$share/name/filter`. Only ever looked up.
    by_text: HashMap<ByteString, GroupKey>,
    members: Vec<usize>,
    free: Vec<GroupKey>,
}

impl Groups {
    /// One member more; says whether the group is new.
    pub(super) fn join(&mut self, text: &ByteString) -> (GroupKey, bool) {
        if let Some(group) = self.by_text.get(text) {
            self.members[group.0] += 1;
            return (*group, false);
        }
        let group = self.free.pop().unwrap_or_else(|| {
            self.members.push(0);
            GroupKey(self.members.len() - 1)
        });
        self.members[group.0] = 1;
        self.by_text.insert(text.clone(), group);
        (group, true)
    }

    /// One member less; the group, if that was the last.
    pub(super) fn leave(&mut self, text: &str) -> Option<GroupKey> {
        let group = *self.by_text.get(text)?;
        self.members[group.0] -= 1;
        if self.members[group.0] > 0 {
            return None;
        }
        self.by_text.remove(text);
        self.free.push(group);
        Some(group)
    }

    pub(super) fn get(&self, text: &str) -> Option<GroupKey> {
        self.by_text.get(text).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_text.len()
    }
}
