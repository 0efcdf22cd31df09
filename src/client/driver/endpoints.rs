//! Which addresses are tried, and in which order.
//!
//! One *round* tries every address once, without a pause between them; the delays of `backoff` lie between rounds. The
//! address that worked last is the first of the next round. A broker that sends its clients elsewhere moves on to the next
//! address; where it may be followed, to those that it names first.

use crate::client::{ClientError, ClientOptions};
use crate::transport::Address;
use std::collections::VecDeque;

/// So many addresses that brokers name are followed in one round: two that name each other are no reason to go on.
const FOLLOWED_MAX: usize = 5;

/// The addresses of one client.
pub(super) struct Endpoints {
    /// The preferred one first.
    addresses: VecDeque<Address>,
    /// Named by the broker that has just sent us elsewhere: for the next round alone.
    named: Vec<Address>,
    follows: bool,
}

/// One try at each address.
pub(super) struct Round {
    next: VecDeque<Address>,
    followed: usize,
    failures: Vec<(String, ClientError)>,
}

impl Endpoints {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let mut addresses = VecDeque::from([options.address.clone()]);
        for other in &options.others {
            if !addresses.contains(other) {
                addresses.push_back(other.clone());
            }
        }
        Self {
            addresses,
            named: Vec::new(),
            follows: options
                .reconnect
                .as_ref()
                .is_some_and(|reconnect| reconnect.follow_redirects),
        }
    }

    pub(super) fn round(&mut self) -> Round {
        let mut round = Round {
            next: self.addresses.clone(),
            followed: 0,
            failures: Vec::new(),
        };
        let named = std::mem::take(&mut self.named);
        round.follow(named);
        round
    }

    /// This one accepted us: the next round begins with it, where it is one of ours.
    pub(super) fn prefer(&mut self, address: &Address) {
        if let Some(place) = self.addresses.iter().position(|ours| ours == address) {
            self.addresses.rotate_left(place);
        }
    }

    /// The broker at this address, which had accepted us, has ended the connection. Whether its clients are to go elsewhere
    /// and there is such a place.
    pub(super) fn left(&mut self, address: &Address, error: &ClientError) -> bool {
        let Some(named) = self.sent_to(address, error) else {
            return false;
        };
        self.named = named;
        if self.addresses.front() == Some(address) {
            self.addresses.rotate_left(1);
        }
        self.addresses.len() > 1 || !self.named.is_empty()
    }

    /// A try at this address has failed. `Some`: so will all others, and why.
    pub(super) fn failed(
        &mut self,
        round: &mut Round,
        address: &Address,
        error: ClientError,
    ) -> Option<ClientError> {
        match self.sent_to(address, &error) {
            Some(named) => round.follow(named),
            None if error.is_terminal() => return Some(error),
            None => {}
        }
        round.failures.push((address.to_string(), error));
        None
    }

    /// Where the error says to go, as far as it may be followed; `None`: it says nothing of the kind.
    fn sent_to(&self, address: &Address, error: &ClientError) -> Option<Vec<Address>> {
        let reference = error.redirect()?.server_reference;
        let mut named = match &reference {
            Some(reference) if self.follows => address.elsewhere(reference),
            _ => Vec::new(),
        };
        named.retain(|other| other != address);
        Some(named)
    }
}

impl Round {
    /// These come next, in their order.
    fn follow(&mut self, named: Vec<Address>) {
        let room = FOLLOWED_MAX.saturating_sub(self.followed);
        for address in named.into_iter().take(room).rev() {
            self.followed += 1;
            self.next.retain(|other| *other != address);
            self.next.push_front(address);
        }
    }

    pub(super) fn next(&mut self) -> Option<Address> {
        self.next.pop_front()
    }

    /// Nobody would have us: the failure, or all of them.
    pub(super) fn failure(mut self) -> ClientError {
        match self.failures.len() {
            0 => ClientError::Misuse("there is no address to connect to".to_owned()),
            1 => self.failures.remove(0).1,
            _ => ClientError::NoneConnected {
                failures: self.failures,
            },
        }
    }
}
