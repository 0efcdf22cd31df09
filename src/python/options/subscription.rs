//! The arguments of `Client.subscribe`.

use super::{out_of_range, qos, topic_error, user_properties};
use crate::client::{Ack, Overflow, SubscriptionSettings};
use crate::codec::{RetainHandling, SubscribeFilter, SubscriptionOptions};
use crate::message::UserProperty;
use crate::topic::TopicTemplate;
use bytestring::ByteString;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The keyword arguments of `Client.subscribe`, as a mapping.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct SubscribeArguments {
    qos: i64,
    maxsize: usize,
    max_bytes: usize,
    overflow: Option<String>,
    ack: String,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: i64,
    user_properties: Vec<(String, String)>,
}

/// The keyword arguments of `Subscription.update`, as a mapping. `None`: as it is.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct UpdateArguments {
    qos: Option<i64>,
    no_local: Option<bool>,
    retain_as_published: Option<bool>,
    retain_handling: Option<i64>,
    user_properties: Vec<(String, String)>,
}

/// Topic filters as they were given, with what each stands for.
pub(crate) struct Filters {
    pub(crate) texts: Vec<String>,
    pub(crate) templates: Vec<TopicTemplate>,
}

/// What to subscribe to, and how.
pub(crate) struct Wanted {
    pub(crate) filters: Filters,
    pub(crate) options: SubscriptionOptions,
    pub(crate) settings: SubscriptionSettings,
}

impl Filters {
    /// Reads them.
    ///
    /// # Errors
    /// There is none, or one is no filter.
    pub(crate) fn read(py: Python<'_>, filters: Vec<Bound<'_, PyAny>>) -> PyResult<Self> {
        if filters.is_empty() {
            return Err(PyValueError::new_err("subscribe to at least one filter"));
        }
        let mut read = Self {
            texts: Vec::with_capacity(filters.len()),
            templates: Vec::with_capacity(filters.len()),
        };
        for filter in filters {
            let Ok(text) = filter.cast::<PyString>() else {
                return Err(PyTypeError::new_err(format!(
                    "a topic filter must be str, not {}",
                    filter.get_type().name()?
                )));
            };
            let text = text.to_cow()?;
            let template = TopicTemplate::new(&text).map_err(|error| topic_error(error, py))?;
            read.templates.push(template);
            read.texts.push(text.into_owned());
        }
        Ok(read)
    }

    /// As they are asked for.
    pub(crate) fn with(&self, options: SubscriptionOptions) -> Vec<SubscribeFilter> {
        let filters = self.templates.iter().map(|template| SubscribeFilter {
            filter: ByteString::from(template.filter().as_str()),
            options,
        });
        filters.collect()
    }
}

impl UpdateArguments {
    /// The options that hold from now on.
    ///
    /// # Errors
    /// `ValueError` naming the argument.
    pub(crate) fn options(&self, before: SubscriptionOptions) -> PyResult<SubscriptionOptions> {
        Ok(SubscriptionOptions {
            qos: self.qos.map_or(Ok(before.qos), qos)?,
            no_local: self.no_local.unwrap_or(before.no_local),
            retain_as_published: self
                .retain_as_published
                .unwrap_or(before.retain_as_published),
            retain_handling: self
                .retain_handling
                .map_or(Ok(before.retain_handling), retain_handling)?,
        })
    }

    pub(crate) fn user_properties(self) -> Vec<UserProperty> {
        user_properties(self.user_properties)
    }
}

fn retain_handling(number: i64) -> PyResult<RetainHandling> {
    match number {
        0 => Ok(RetainHandling::Always),
        1 => Ok(RetainHandling::IfNew),
        2 => Ok(RetainHandling::Never),
        _ => Err(out_of_range("retain_handling", "0, 1 or 2")),
    }
}

/// Reads what to subscribe to, and how.
///
/// # Errors
/// `TopicError` for a filter that is none, `ValueError` naming the argument.
pub(crate) fn subscription(
    py: Python<'_>,
    filters: Vec<Bound<'_, PyAny>>,
    arguments: &SubscribeArguments,
) -> PyResult<Wanted> {
    let options = SubscriptionOptions {
        qos: qos(arguments.qos)?,
        no_local: arguments.no_local,
        retain_as_published: arguments.retain_as_published,
        retain_handling: retain_handling(arguments.retain_handling)?,
    };
    let filters = Filters::read(py, filters)?;
    if arguments.maxsize == 0 || arguments.max_bytes == 0 {
        return Err(out_of_range("maxsize and max_bytes", "1 or more"));
    }
    let settings = SubscriptionSettings {
        messages_max: arguments.maxsize,
        bytes_max: arguments.max_bytes,
        overflow: arguments.overflow.as_deref().map(overflow).transpose()?,
        ack: match arguments.ack.as_str() {
            "processed" => Ack::Processed,
            "received" => Ack::Received,
            "manual" => Ack::Manual,
            _ => return Err(out_of_range("ack", "'processed', 'received' or 'manual'")),
        },
        user_properties: user_properties(arguments.user_properties.clone()),
    };
    Ok(Wanted {
        filters,
        options,
        settings,
    })
}

fn overflow(text: &str) -> PyResult<Overflow> {
    Ok(match text {
        "wait" => Overflow::Wait,
        "drop_oldest" => Overflow::DropOldest,
        "drop_newest" => Overflow::DropNewest,
        "latest" => Overflow::Latest,
        "error" => Overflow::Error,
        _ => {
            return Err(out_of_range(
                "overflow",
                "None, 'wait', 'drop_oldest', 'drop_newest', 'latest' or 'error'",
            ));
        }
    })
}
