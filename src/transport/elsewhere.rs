//! Where a broker sends its clients instead, as an address of the same kind as its own.

use super::Address;

/// More names than this in one reference are not looked at.
const NAMES_MAX: usize = 8;

impl Address {
    /// The addresses in a reference to other servers: host names or IP addresses, each with a port or without, parted by
    /// spaces. They are of this address's own kind, whatever the reference says: whoever came encrypted is not sent on in
    /// plain, and a WebSocket keeps its path where none is named. What is no such address is left out.
    pub fn elsewhere(&self, reference: &str) -> Vec<Self> {
        let own = self.to_string();
        let Some((scheme, _)) = own.split_once("://") else {
            return Vec::new();
        };
        reference
            .split_ascii_whitespace()
            .take(NAMES_MAX)
            .filter_map(|name| match name.split_once("://") {
                Some((theirs, rest)) if theirs.eq_ignore_ascii_case(scheme) => Some(rest),
                Some(_) => None,
                None => Some(name),
            })
            .filter_map(|name| Self::parse(&format!("{scheme}://{name}")).ok())
            .filter(|address| address.port() != Some(0))
            .map(|address| address.with_path_of(self))
            .collect()
    }
}
