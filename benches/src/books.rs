//! Every message, accounted for: sent, come, come twice, come late, never come.

use hdrhistogram::Histogram;

/// So many bytes of a payload belong to the books: who, the how manieth, when.
pub const STAMP: usize = 20;

/// Writes the stamp at the head of a payload.
pub fn stamp(payload: &mut [u8], publisher: u32, number: u64, nanos: u64) {
    payload[..4].copy_from_slice(&publisher.to_le_bytes());
    payload[4..12].copy_from_slice(&number.to_le_bytes());
    payload[12..STAMP].copy_from_slice(&nanos.to_le_bytes());
}

/// Reads it back: who, the how manieth, when.
pub fn read_stamp(payload: &[u8]) -> Option<(u32, u64, u64)> {
    let (publisher, rest) = payload.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let nanos = rest.first_chunk::<8>()?;
    Some((
        u32::from_le_bytes(*publisher),
        u64::from_le_bytes(*number),
        u64::from_le_bytes(*nanos),
    ))
}

/// What one subscriber has had from one publisher.
#[derive(Default, Clone)]
struct Account {
    seen: Vec<u64>,
    next: u64,
    distinct: u64,
}

/// What has come, and how.
pub struct Books {
    accounts: Vec<Account>,
    publishers: usize,
    pub delivered: u64,
    pub duplicates: u64,
    pub out_of_order: u64,
    /// Microseconds from sending, or in open loop from when it was due, to arrival.
    pub latency: Histogram<u64>,
}

impl Books {
    pub fn new(publishers: usize, subscribers: usize) -> Self {
        Self {
            accounts: vec![Account::default(); publishers * subscribers],
            publishers,
            delivered: 0,
            duplicates: 0,
            out_of_order: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).expect("valid bounds"),
        }
    }

    /// A copy has come.
    pub fn enter(&mut self, subscriber: usize, publisher: u32, number: u64, micros: u64) {
        let account = &mut self.accounts[subscriber * self.publishers + publisher as usize];
        let (word, bit) = (
            usize::try_from(number / 64).expect("memory for the books"),
            number % 64,
        );
        if account.seen.len() <= word {
            account.seen.resize(word + 1, 0);
        }
        self.delivered += 1;
        if account.seen[word] >> bit & 1 == 1 {
            self.duplicates += 1;
            return;
        }
        account.seen[word] |= 1 << bit;
        account.distinct += 1;
        if number < account.next {
            self.out_of_order += 1;
        } else {
            account.next = number + 1;
        }
        self.latency.saturating_record(micros.max(1));
    }

    /// How many different ones have come.
    pub fn distinct(&self) -> u64 {
        self.accounts.iter().map(|account| account.distinct).sum()
    }
}
