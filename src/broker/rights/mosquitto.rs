//! An ACL file of Mosquitto's, read as Mosquitto reads it.
//!
//! ```text
//! # what clients that are no users may do
//! topic read public/#
//!
//! user alice
//! topic readwrite plant/#
//! topic deny plant/secret/#
//!
//! # for all of them
//! pattern write devices/%c/up
//! ```
//!
//! Anything else is an error, and so is a topic that is no filter: what is not understood must not open a door.

use super::{Access, Accesses, Acl, Rule, Whom};
use crate::topic::TopicFilter;

/// Why a file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct AclFault {
    /// Counted from 1.
    pub line: usize,
    what: String,
}

impl Acl {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// The first line that says nothing known.
    pub fn from_mosquitto(file: &[u8]) -> Result<Self, AclFault> {
        let mut acl = Self {
            is_staged: true,
            is_any_filter_granted: true,
            ..Self::default()
        };
        let mut whom = Whom::Anonymous;
        for (at, line) in file.split(|byte| *byte == b'\n').enumerate() {
            let number = at + 1;
            let fault = |what: String| AclFault { line: number, what };
            let line = std::str::from_utf8(line).map_err(|_| fault("is no UTF-8".to_owned()))?;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim();
            match keyword {
                "user" if rest.is_empty() => return Err(fault("user without a name".to_owned())),
                "user" => whom = Whom::user(rest),
                "topic" | "pattern" => {
                    let mut rule = rule(rest).map_err(fault)?;
                    rule.is_pattern = keyword == "pattern";
                    rule.text = format!("line {number}: {line}").into();
                    let whom = if rule.is_pattern {
                        Whom::Everybody
                    } else {
                        whom.clone()
                    };
                    acl.extend(whom, [rule]);
                }
                other => {
                    return Err(fault(format!(
                        "{other:?} is none of user, topic and pattern"
                    )));
                }
            }
        }
        Ok(acl)
    }
}

/// `[read|write|readwrite|deny] topic`: the topic may have spaces if one of those words stands before it.
fn rule(text: &str) -> Result<Rule, String> {
    let both = [Access::Read, Access::Publish];
    let (word, topic) = match text.split_once(' ') {
        Some((word, topic)) => (word, topic.trim_start()),
        None => ("readwrite", text),
    };
    let accesses: &[Access] = match word {
        "read" => &both[..1],
        "write" => &both[1..],
        "readwrite" | "deny" => &both,
        other => {
            return Err(format!(
                "{other:?} is none of read, write, readwrite and deny"
            ));
        }
    };
    // Mosquitto would take it for the topic.
    let is_cut_short = topic == text && matches!(topic, "read" | "write" | "readwrite" | "deny");
    if topic.is_empty() || is_cut_short {
        return Err("a topic is missing".to_owned());
    }
    let filter = TopicFilter::new(topic).map_err(|error| format!("{topic:?}: {error}"))?;
    Ok(Rule::new(filter, Accesses::of(accesses), word == "deny"))
}
