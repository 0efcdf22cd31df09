//! What `rmqtt.Broker` is told of rights, and what it is answered where it asks for them.

use super::super::inquiries::NativeInquiries;
use super::topic_error;
use crate::broker::rights::{Access, Accesses, Acl, Policies, Policy, Rule, Whom};
use crate::topic::TopicFilter;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;

/// Whether it denies, letters of what, and the pattern.
type RuleArguments = (bool, String, String);

/// Whose kind and name, rules, and whether only what they name may be subscribed to.
type ListArguments = (String, String, Vec<RuleArguments>, bool);

/// Where rights come from: rules, or what a callable is asked about.
#[derive(FromPyObject)]
pub(crate) enum AclArgument {
    Asked(Py<NativeInquiries>),
    Rules(RulesArgument),
}

impl AclArgument {
    /// Reads it.
    ///
    /// # Errors
    /// As of [`RulesArgument::read`].
    pub(crate) fn read(self, py: Python<'_>) -> PyResult<Policy> {
        Ok(match self {
            Self::Asked(inquiries) => Policy::Asked(inquiries.get().referee()),
            Self::Rules(rules) => Policy::Rules(Arc::new(rules.read(py)?)),
        })
    }
}

/// Rules, or a file's name and content.
#[derive(FromPyObject)]
pub(crate) enum RulesArgument {
    File(String, Vec<u8>),
    Lists(Vec<ListArguments>),
}

impl RulesArgument {
    /// Reads the rules.
    ///
    /// # Errors
    /// `ValueError`: the line of the file; `TopicError`: the pattern that is no filter.
    pub(crate) fn read(self, py: Python<'_>) -> PyResult<Acl> {
        let lists = match self {
            Self::File(name, content) => {
                return Acl::from_mosquitto(&content)
                    .map_err(|fault| PyValueError::new_err(format!("{name}: {fault}")));
            }
            Self::Lists(lists) => lists,
        };
        let mut acl = Acl::new();
        for (kind, name, rules, names_filters) in lists {
            let whom = match &*kind {
                "user" => Whom::user(&name),
                "client" => Whom::Client(name),
                _ => Whom::Everybody,
            };
            let rules = rules.into_iter().map(|rule| read_rule(rule, py));
            acl.extend(whom.clone(), rules.collect::<PyResult<Vec<_>>>()?);
            if names_filters {
                acl.name_filters(whom);
            }
        }
        Ok(acl)
    }
}

fn read_rule((is_denial, letters, pattern): RuleArguments, py: Python<'_>) -> PyResult<Rule> {
    let accesses: Vec<_> = letters
        .chars()
        .map(|letter| match letter {
            'p' => Access::Publish,
            'r' => Access::Read,
            _ => Access::Subscribe,
        })
        .collect();
    let filter = TopicFilter::new(pattern.as_str()).map_err(|error| {
        let error = topic_error(error, py);
        let words = format!("acl: {pattern:?}: {}", error.value(py));
        PyErr::from_type(error.get_type(py), words)
    })?;
    Ok(Rule::new(filter, Accesses::of(&accesses), is_denial))
}

/// Reads what goes everywhere, and at listeners by their numbers.
///
/// # Errors
/// As of [`RulesArgument::read`].
pub(crate) fn policies(
    everywhere: Option<AclArgument>,
    here: Vec<(usize, Option<AclArgument>)>,
    py: Python<'_>,
) -> PyResult<Policies> {
    let read = |acl: Option<AclArgument>| acl.map(|acl| acl.read(py)).transpose();
    let here = here.into_iter();
    let here = here.map(|(listener, acl)| Ok((listener, read(acl)?)));
    Ok(Policies {
        here: here.collect::<PyResult<_>>()?,
        everywhere: read(everywhere)?,
    })
}
