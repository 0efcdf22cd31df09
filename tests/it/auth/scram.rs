//! SCRAM-SHA-256 as RFC 5802 and RFC 7677 write it down, both ends, with nonces of the caller's choice.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

type Hash = [u8; 32];

pub(super) fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn hmac(key: &[u8], message: &[u8]) -> Hash {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5C))
        .chain_update(inner)
        .finalize()
        .into()
}

fn xor(left: Hash, right: Hash) -> Hash {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// The slow one. Passwords here are shorter than a block.
pub(super) fn hi(password: &str, salt: &[u8], iterations: u32) -> Hash {
    let mut last = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut all = last;
    for _ in 1..iterations {
        last = hmac(password.as_bytes(), &last);
        all = xor(all, last);
    }
    all
}

/// The value of an attribute.
pub(super) fn attribute(message: &str, name: char) -> &str {
    message
        .split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        .expect("the attribute is there")
}

/// What both ends compute of one exchange.
pub(super) struct Exchange {
    pub(super) client_final: String,
    pub(super) server_final: String,
}

impl Exchange {
    /// `header` is the client's channel binding flag with its commas.
    pub(super) fn new(password: &str, header: &str, bare: &str, server_first: &str) -> Self {
        let salt = STANDARD
            .decode(attribute(server_first, 's'))
            .expect("base64");
        let iterations = attribute(server_first, 'i').parse().expect("a number");
        let salted = hi(password, &salt, iterations);
        let client_key = hmac(&salted, b"Client Key");
        let server_key = hmac(&salted, b"Server Key");
        let stored_key: Hash = Sha256::digest(client_key).into();
        let nonce = attribute(server_first, 'r');
        let without_proof = format!("c={},r={nonce}", base64(header));
        let all = format!("{bare},{server_first},{without_proof}");
        let proof = xor(client_key, hmac(&stored_key, all.as_bytes()));
        Self {
            client_final: format!("{without_proof},p={}", base64(proof)),
            server_final: format!("v={}", base64(hmac(&server_key, all.as_bytes()))),
        }
    }
}

/// The example of RFC 7677.
#[test]
fn the_second_scram_agrees_with_the_standard() {
    let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    let exchange = Exchange::new("pencil", "n,,", bare, server_first);
    assert_eq!(
        exchange.client_final,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    assert_eq!(
        exchange.server_final,
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    );
}
