//! Who gets a message, among so many subscriptions: half of them exact, half with a wildcard.

use criterion::Criterion;
use rmqtt::broker::Limits;
use rmqtt::broker::router::{Router, Routes, SessionKey};
use rmqtt::broker::subscriptions::Subscription;
use rmqtt::message::Message;
use rmqtt::topic::{TopicFilter, TopicName};
use std::hint::black_box;

const MANY: usize = 100;
const SESSIONS: usize = 100;

fn subscribe(router: &mut Router, session: usize, filter: String) {
    let filter = TopicFilter::new(filter).expect("a filter");
    router.subscribe(SessionKey(session), &filter, Subscription::default());
}

/// With `count` subscriptions that match neither topic, one that matches the one, a hundred the other.
fn router(count: usize) -> Router {
    let mut router = Router::new(&Limits::default());
    for n in 0..count {
        let filter = match n % 2 {
            0 => format!("other/plant/{n}/temperature"),
            _ => format!("other/plant/{n}/+/temperature"),
        };
        subscribe(&mut router, n % SESSIONS, filter);
    }
    subscribe(&mut router, 0, "bench/plant/+/temperature".to_owned());
    for session in 0..MANY {
        subscribe(&mut router, session, "many/plant/+/temperature".to_owned());
    }
    router
}

/// Routing to nobody, to one, to many.
pub fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for count in [1, 1_000, 100_000, 1_000_000] {
        let router = router(count);
        let mut found = Routes::default();
        for (name, topic) in [
            ("none", "other/plant/none/temperature"),
            ("one", "bench/plant/0001/temperature"),
            ("many", "many/plant/0001/temperature"),
        ] {
            let message = Message::new(TopicName::new(topic).expect("a topic"), vec![0x55; 64]);
            group.bench_function(format!("{count}-{name}"), |bencher| {
                bencher.iter(|| {
                    router.route(black_box(&message), None, &mut found);
                    black_box(&found.list);
                });
            });
        }
    }
    group.finish();
}
