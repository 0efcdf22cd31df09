//! The arguments of `Client.subscribe`.

use super::{out_of_range, qos, topic_error, user_properties};
use crate::client::{Ack, Overflow, SubscriptionSettings};
use crate::codec::{RetainHandling, SubscribeFilter, SubscriptionOptions};
use crate::topic::TopicTemplate;
use bytestring::ByteString;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;

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

/// What to subscribe to, and how.
pub(crate) struct Wanted {
    pub(crate) filters: Vec<SubscribeFilter>,
    pub(crate) settings: SubscriptionSettings,
    /// Where any level has a name.
    pub(crate) templates: Option<Arc<[TopicTemplate]>>,
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
        retain_handling: match arguments.retain_handling {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(out_of_range("retain_handling", "0, 1 or 2")),
        },
    };
    if filters.is_empty() {
        return Err(PyValueError::new_err("subscribe to at least one filter"));
    }
    let templates = filters
        .into_iter()
        .map(|filter| {
            let Ok(text) = filter.cast::<PyString>() else {
                return Err(PyTypeError::new_err(format!(
                    "a topic filter must be str, not {}",
                    filter.get_type().name()?
                )));
            };
            TopicTemplate::new(&text.to_cow()?).map_err(|error| topic_error(error, py))
        })
        .collect::<PyResult<Vec<_>>>()?;
    let filters = templates.iter().map(|template| SubscribeFilter {
        filter: ByteString::from(template.filter().as_str()),
        options,
    });
    let filters = filters.collect();
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
    let has_names = templates.iter().any(|template| template.names().len() > 0);
    Ok(Wanted {
        filters,
        settings,
        templates: has_names.then(|| templates.into()),
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
