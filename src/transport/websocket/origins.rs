//! Whose pages may connect.
//!
//! A browser lets every page open a WebSocket to every address that it can reach, the machine's own and those behind a
//! firewall among them, and shows a client's certificate there. All that tells such a connection from one of a program is
//! the header `Origin`, which a page cannot leave out or choose.

use std::net::IpAddr;
use std::sync::Arc;
use tungstenite::http::Uri;

/// Whose pages may connect to a listener. Programs that are no browsers say nothing of an origin, and are not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origins {
    /// Those that come from the machine that the browser runs on. A name that leads there for a moment is not enough: what
    /// counts is what stands in the address bar.
    #[default]
    Local,
    /// These.
    Listed(Arc<[String]>),
    /// All.
    Any,
}

impl Origins {
    /// Reads a list of origins, `scheme://host` or `scheme://host:port`, or `null` for pages that have none; `*` means all.
    ///
    /// # Errors
    /// One is none, in words for users.
    pub fn listed(origins: &[String]) -> Result<Self, String> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        origins
            .iter()
            .map(|origin| read(origin))
            .collect::<Result<_, _>>()
            .map(Self::Listed)
    }

    /// Whether a page of this origin may connect.
    pub(super) fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Listed(origins) => origins.iter().any(|one| one.eq_ignore_ascii_case(origin)),
            Self::Local => is_local(origin),
        }
    }
}

/// As a browser writes it.
fn read(origin: &str) -> Result<String, String> {
    if origin == "null" {
        return Ok(origin.to_owned());
    }
    let (scheme, authority) = origin.split_once("://").unwrap_or_default();
    let is_one = !scheme.is_empty()
        && origin.parse::<Uri>().is_ok_and(|uri| uri.host().is_some())
        && !authority.contains(['/', '?', '#', '@', '*']);
    if !is_one {
        return Err(format!(
            "{origin:?} is no origin: write scheme://host or scheme://host:port, as in https://app.example"
        ));
    }
    let usual_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    Ok(origin.strip_suffix(usual_port).unwrap_or(origin).to_owned())
}

fn is_local(origin: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    matches!(uri.scheme_str(), Some("http" | "https"))
        && (host.eq_ignore_ascii_case("localhost")
            || ip
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback()))
}
