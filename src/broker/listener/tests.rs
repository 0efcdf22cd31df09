//! Where it is safe to listen.

use super::*;
use crate::broker::auth::Users;

fn at(host: &str) -> Address {
    Address::Tcp {
        host: host.to_owned(),
        port: 1883,
    }
}

fn users() -> Arc<Auth> {
    let users = Users::new([("alice", "secret")]);
    Arc::new(users.expect("users").into())
}

/// A name may lead anywhere, whatever it was taken for.
#[test]
fn what_counts_is_the_address_that_a_name_has_led_to() {
    let named = ListenerOptions::from(at("localhost"));
    assert_eq!(named.check(None, false), Ok(()));
    for host in ["127.0.0.1", "127.8.9.10", "::1"] {
        assert_eq!(named.check_reach(&at(host), None, false), Ok(()), "{host}");
    }
    for host in ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::", "::ffff:7f00:1"] {
        let checked = named.check_reach(&at(host), None, false);
        assert!(matches!(checked, Err(BrokerError::Options(_))), "{host}");
        assert_eq!(named.check_reach(&at(host), None, true), Ok(()), "{host}");
    }
}

#[test]
fn what_a_listener_says_of_itself_goes_before_what_goes_everywhere() {
    let everywhere = users();
    let check = |listener: &ListenerOptions, allow| listener.check(Some(&everywhere), allow);
    let mut listener = ListenerOptions::from(at("0.0.0.0"));
    assert_eq!(check(&listener, false), Ok(()));
    listener.auth = Local::Here(None);
    assert!(check(&listener, false).is_err());
    assert_eq!(check(&listener, true), Ok(()));
    listener.allow_anonymous = Some(false);
    assert!(check(&listener, true).is_err());
    listener.auth = Local::Here(Some(users()));
    assert_eq!(listener.check(None, false), Ok(()));
}
