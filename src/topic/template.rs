//! Topic templates: filters whose levels have names, as in `plant/{site}/{sensor}`.

use super::{TopicError, TopicFilter};

/// A topic filter with names for some of its single-level wildcards.
///
/// A level `{name}` is sent as `+`, and what stands there in a topic has that name. Names are letters, digits and `_`, not
/// beginning with a digit; `{{name}}` is the level `{name}` itself, and any other brace is a character like others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TopicTemplate {
    filter: TopicFilter,
    /// Without the share name, which topics never have.
    inner: TopicFilter,
    /// Each with its level in `inner`.
    names: Vec<(usize, String)>,
}

impl TopicTemplate {
    /// Checks and takes a template. A filter without names is one too.
    ///
    /// # Errors
    /// It is no topic filter, or a name stands in it twice.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        let mut levels = Vec::new();
        let mut names: Vec<(usize, String)> = Vec::new();
        for (at, level) in text.split('/').enumerate() {
            match braced(level) {
                Some(name) if is_name(name) => {
                    if names.iter().any(|(_, other)| other == name) {
                        return Err(TopicError::NamedTwice);
                    }
                    names.push((at, name.to_owned()));
                    levels.push("+");
                }
                Some(inner) if braced(inner).is_some_and(is_name) => levels.push(inner),
                _ => levels.push(level),
            }
        }
        let filter = TopicFilter::new(levels.join("/"))?;
        let shared = filter.share()?;
        let share_levels = if shared.is_some() { 2 } else { 0 };
        let inner = shared.map_or_else(|| filter.clone(), |(_, inner)| inner);
        for (at, _) in &mut names {
            // The name of a share has no wildcard, so none of ours.
            *at -= share_levels;
        }
        Ok(Self {
            filter,
            inner,
            names,
        })
    }

    /// What to subscribe to.
    pub fn filter(&self) -> &TopicFilter {
        &self.filter
    }

    /// The names, in their order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|(_, name)| name.as_str())
    }

    /// What stands in this topic where the names are; `None`: it does not match.
    pub fn params<'a>(&'a self, topic: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        if !super::matches(self.inner.as_str(), topic) {
            return None;
        }
        let named =
            |(at, name): &'a (usize, String)| Some((name.as_str(), topic.split('/').nth(*at)?));
        self.names.iter().map(named).collect()
    }
}

fn braced(level: &str) -> Option<&str> {
    level.strip_prefix('{')?.strip_suffix('}')
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .chars()
            .all(|other| other.is_ascii_alphanumeric() || other == '_')
}
