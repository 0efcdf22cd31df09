//! How much somebody may have, at a time and in a time: plain arithmetic, so any hour will do.

use crate::seed::{each, epoch};
use rmqtt::broker::quota::{Crowd, Meter, Meters, Pace, Turns};
use std::collections::BTreeMap;
use std::time::Duration;

fn pace(per_second: u32, burst_seconds: u64) -> Pace {
    Pace {
        per_second,
        burst: Duration::from_secs(burst_seconds),
    }
}

#[test]
fn a_burst_is_there_at_once_and_then_what_is_earned() {
    let now = epoch();
    let mut meter = Meter::new(pace(10, 2), now);
    assert_eq!(meter.left(now), 20);
    meter.take(20, now);
    assert_eq!(meter.left(now), 0);
    assert_eq!(meter.ready_at(), now + Duration::from_millis(100));
    assert_eq!(meter.left(now + Duration::from_millis(99)), 0);
    assert_eq!(meter.left(now + Duration::from_millis(100)), 1);
    assert_eq!(meter.left(now + Duration::from_secs(3600)), 20);
}

#[test]
fn what_was_taken_in_advance_is_owed() {
    let now = epoch();
    let mut meter = Meter::new(pace(10, 1), now);
    meter.take(30, now);
    assert_eq!(meter.ready_at(), now + Duration::from_millis(2100));
    assert_eq!(meter.left(now + Duration::from_secs(2)), 0);
    assert_eq!(meter.left(now + Duration::from_secs(3)), 10);
}

#[test]
fn a_pace_of_zero_is_no_bound() {
    let now = epoch();
    let mut meter = Meter::new(pace(0, 1), now);
    meter.take(1 << 40, now);
    assert_eq!(meter.left(now), u64::MAX);
    let mut meters = Meters::new(pace(0, 1));
    assert!((0..1000).all(|_| meters.try_take("one", now)));
    assert!(meters.is_empty());
}

/// Whatever is asked for and when: what is taken in any time is no more than a burst and what was earned.
#[test]
fn nobody_gets_more_than_the_pace() {
    each(200, |mut seed| {
        let begin = epoch();
        let mut pick = |below: usize| seed.pick(0..below) as u64;
        let (per_second, burst) = (pick(50) + 1, pick(5) + 1);
        let pace = pace(u32::try_from(per_second).expect("small"), burst);
        let mut meter = Meter::new(pace, begin);
        let (mut now, mut taken) = (begin, 0);
        for _ in 0..200 {
            now += Duration::from_millis(pick(300));
            let count = meter.left(now).min(pick(20));
            meter.take(count, now);
            taken += count;
            let earned = (now - begin).as_millis() * u128::from(per_second);
            let at_once = u128::from(per_second * burst * 1000);
            assert!(u128::from(taken * 1000) <= earned + at_once + 999);
        }
    });
}

#[test]
fn each_has_a_pace_of_its_own_and_is_forgotten_when_it_is_earned() {
    let now = epoch();
    let mut meters = Meters::new(pace(1, 2));
    assert_eq!(
        [(); 3].map(|()| meters.try_take(0, now)),
        [true, true, false]
    );
    assert!(meters.try_take(1, now), "another one");
    let later = now + Duration::from_secs(3);
    for key in 2..5000 {
        assert!(meters.try_take(key, later));
    }
    let much_later = later + Duration::from_secs(3);
    for key in 0..5000 {
        assert!(meters.try_take(key, much_later));
    }
    assert!(meters.len() < 10_100, "{} are remembered", meters.len());
}

#[test]
fn a_crowd_counts_as_a_list_would() {
    each(100, |mut seed| {
        let mut crowd = Crowd::default();
        let mut list = Vec::new();
        for _ in 0..100 {
            let key = seed.pick(0..5);
            if seed.pick(0..2) == 0 {
                crowd.add(key);
                list.push(key);
            } else if let Some(at) = list.iter().position(|other| *other == key) {
                crowd.remove(&key);
                list.remove(at);
            }
            let mut counts = BTreeMap::new();
            for key in &list {
                *counts.entry(*key).or_insert(0) += 1;
            }
            assert!((0..5).all(|key| crowd.count(&key) == counts.get(&key).copied().unwrap_or(0)));
            assert_eq!(crowd.len(), counts.len());
        }
    });
}

#[test]
fn lines_take_turns_and_the_longest_gives_way() {
    let mut turns = Turns::new(5);
    for number in 0..4 {
        assert_eq!(turns.push("long", number), None);
    }
    assert_eq!(turns.push("short", 10), None);
    assert_eq!(turns.push("short", 11), Some(3), "the last of the longest");
    assert_eq!(turns.push("new", 20), Some(2));
    let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
    assert_eq!(order, [0, 10, 20, 1, 11]);
    assert!(turns.is_empty() && turns.pop().is_none());
    assert_eq!(turns.push("again", 30), None);
    assert_eq!((turns.len(), turns.pop()), (1, Some(30)));
    let mut none = Turns::new(0);
    assert_eq!(none.push("a", 1), Some(1));
    assert!(none.is_empty());
}
