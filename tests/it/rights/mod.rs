//! Who may do what: the rules by themselves, and every way around them that was found in other brokers.

mod asked;
mod changed;
mod files;
mod matcher;
mod owners;
mod reading;
mod retained;
mod shared;
mod writing;

use crate::raw::bytes::{Connect, Publish, field};
use crate::raw::{Peer, Server, Version};
use rmqtt::broker::auth::Users;
use rmqtt::broker::rights::{Access, Accesses, Acl, Rule, Whom};
use rmqtt::topic::TopicFilter;
use std::sync::Arc;

/// *Not authorized*.
const DENIED: u8 = 0x87;

/// Rules in short: `+` or `-` for allow or deny, what of `p`ublish, `r`ead and `s`ubscribe, and the filter.
fn rules(lines: &[&str]) -> Vec<Rule> {
    lines.iter().map(|line| rule(line)).collect()
}

fn rule(line: &str) -> Rule {
    let (what, filter) = line.split_once(' ').expect("what, and a filter");
    let accesses: Vec<Access> = what[1..]
        .chars()
        .map(|letter| match letter {
            'p' => Access::Publish,
            'r' => Access::Read,
            's' => Access::Subscribe,
            other => panic!("{other:?} is no access"),
        })
        .collect();
    let filter = TopicFilter::new(filter).expect("a filter");
    Rule::new(filter, Accesses::of(&accesses), what.starts_with('-'))
}

/// Rules for everybody, and for clients by their ids.
fn acl(everybody: &[&str], clients: &[(&str, &[&str])]) -> Arc<Acl> {
    let mut acl = Acl::new();
    acl.extend(Whom::Everybody, rules(everybody));
    for (client_id, lines) in clients {
        acl.extend(Whom::Client((*client_id).to_owned()), rules(lines));
    }
    Arc::new(acl)
}

/// A broker where `boss` may do everything, everybody `public/#` and nothing of `public/secret/#`, and others what is
/// said for them.
async fn server(clients: &[(&str, &[&str])]) -> Server {
    let rules = acl(
        &["+pr public/#", "-prs public/secret/#"],
        &[&[("boss", &["+pr #", "+pr $own/#"][..])], clients].concat(),
    );
    Server::with_options(|options| {
        options.acl = Some(rules.into());
        options.keeps_ledger = true;
    })
    .await
}

/// What each of these users with the password `secret` may do.
async fn with_users(users: &[(&str, &[&str])], everybody: &[&str]) -> Server {
    let mut acl = Acl::new();
    acl.extend(Whom::Everybody, rules(everybody));
    for (name, lines) in users {
        acl.extend(Whom::user(name), rules(lines));
    }
    let names = users.iter().map(|(name, _)| (*name, "secret"));
    let users = Users::new(names).expect("users");
    Server::with_options(|options| {
        options.acl = Some(Arc::new(acl).into());
        options.auth = Some(Arc::new(users.into()));
    })
    .await
}

/// CONNECT as this user.
fn login(version: Version, client_id: &str, user: &str) -> Connect {
    let connect = Connect::new(version, client_id).flags(0xC2);
    connect.more(&[field(user), field("secret")].concat())
}

/// Publishes with QoS 1; the code of the answer.
async fn try_publish(peer: &mut Peer, publish: Publish) -> u8 {
    let id = peer.fresh_id();
    let bytes = publish.qos(1, id).bytes(peer.version);
    peer.send(&bytes).await;
    peer.expect_ack_code(0x40, id).await
}

/// What was published, delivered and counted balances.
async fn assert_balanced(server: &Server) {
    let balance = server.broker().balance().await;
    assert_eq!(balance.difference(), 0, "{balance:?}");
}
