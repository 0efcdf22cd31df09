//! The examples of the standards, both ends against each other, and bytes that are none of SCRAM.

use super::{Challenge, Client, ScramError, Server, Verifier, decode, prepare};
use proptest::prelude::*;

/// The example of RFC 7677.
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn client() -> Client {
    Client::new("user", NONCE.to_owned())
}

fn verifier(password: &str) -> Verifier {
    let salt = decode("W22ZaJ0SNY7soEsUEjb6gQ==").map(TryInto::try_into);
    let Ok(Ok(salt)) = salt else {
        panic!("sixteen bytes")
    };
    Verifier::new(password, salt)
}

fn challenged(message: &str) -> Result<Challenge, ScramError> {
    client().challenge(message.as_bytes())
}

#[test]
fn the_clients_end_agrees_with_the_standard() {
    assert_eq!(client().first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let Ok(challenge) = challenged(CHALLENGE) else {
        panic!("well formed")
    };
    let solved = challenge.solve("pencil");
    assert_eq!(solved.last(), LAST);
    assert_eq!(solved.check(SIGNATURE.as_bytes()), Ok(()));
    assert_eq!(
        solved.check(SIGNATURE.replace("6r", "6s").as_bytes()),
        Err(ScramError::Signature)
    );
    assert_eq!(solved.check(b"e=unknown-user"), Err(ScramError::Signature));
    for malformed in [&b""[..], b"v=", b"v=AAAA", b"m=1,v=AAAA", b"\xFF"] {
        assert!(solved.check(malformed).is_err());
    }
}

#[test]
fn the_servers_end_agrees_with_the_standard() {
    let Ok(server) = Server::new(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") else {
        panic!("well formed")
    };
    let verifier = verifier("pencil");
    assert_eq!(server.username(), "user");
    assert_eq!(server.challenge(&verifier, SERVER_NONCE), CHALLENGE);
    let check = |last: &str| server.check(&verifier, CHALLENGE, last.as_bytes());
    assert_eq!(check(LAST).as_deref(), Ok(SIGNATURE));
    assert_eq!(check(&LAST.replace("p=dH", "p=eH")), Err(ScramError::Proof));
    assert_eq!(check(&LAST.replace("r=rO", "r=rP")), Err(ScramError::Nonce));
    assert!(check(&LAST.replace("c=biws", "c=eSws")).is_err());
    assert!(check(&LAST.replace("c=biws", "m=1,c=biws")).is_err());
    assert!(check("c=biws").is_err());
    assert!(verifier.fits("pencil") && !verifier.fits("pencils"));
}

#[test]
fn a_client_hashes_neither_too_rarely_nor_too_often() {
    let asks = |iterations: &str| challenged(&CHALLENGE.replace("i=4096", iterations)).map(drop);
    assert_eq!(asks("i=4096"), Ok(()));
    assert_eq!(asks("i=1000000"), Ok(()));
    assert_eq!(asks("i=4095"), Err(ScramError::Iterations(4095)));
    assert_eq!(asks("i=1"), Err(ScramError::Iterations(1)));
    assert_eq!(asks("i=1000001"), Err(ScramError::Iterations(1_000_001)));
    for malformed in [
        "i=",
        "i=-1",
        "i=+5000",
        "i=99999999999",
        "i=0x1000",
        "j=4096",
    ] {
        assert!(matches!(asks(malformed), Err(ScramError::Malformed(_))));
    }
}

#[test]
fn a_client_answers_no_other_exchange() {
    let asks = |from: &str, to: &str| challenged(&CHALLENGE.replace(from, to)).map(drop);
    assert_eq!(asks("r=rO", "r=rP"), Err(ScramError::Nonce));
    assert_eq!(asks(SERVER_NONCE, ""), Err(ScramError::Nonce));
    assert!(asks("s=W22ZaJ0SNY7soEsUEjb6gQ==", "s=").is_err());
    assert!(asks("s=W", "s=*").is_err());
    let mandatory = Err(ScramError::NotSupported("a mandatory extension"));
    assert_eq!(asks("r=rO", "m=x,r=rO"), mandatory);
    // One that may be ignored is, and counts in what both ends sign.
    assert_eq!(asks("i=4096", "i=4096,x=y"), Ok(()));
}

#[test]
fn a_made_up_verifier_is_the_same_again_and_fits_nothing() {
    let secret = [7; 32];
    let one = Verifier::made_up(&secret, "nobody");
    let two = Verifier::made_up(&secret, "nobody");
    assert_eq!((one.salt, one.stored_key), (two.salt, two.stored_key));
    assert_ne!(one.salt, Verifier::made_up(&secret, "noone").salt);
    assert_ne!(one.salt, Verifier::made_up(&[8; 32], "nobody").salt);
    assert!(!one.fits(""));
}

#[test]
fn a_nonce_has_its_length() {
    let long = "x".repeat(super::NONCE_LENGTH_MAX + 1);
    let first = format!("n,,n=user,r={long}");
    assert!(Server::new(&first.as_bytes()[..first.len() - 1]).is_ok());
    let error = Server::new(first.as_bytes()).err();
    assert!(matches!(error, Some(ScramError::Malformed(_))));
    let asks = |nonce: &str| challenged(&CHALLENGE.replace(SERVER_NONCE, nonce)).map(drop);
    assert_eq!(asks(&long[NONCE.len() + 1..]), Ok(()));
    assert!(matches!(
        asks(&long[NONCE.len()..]),
        Err(ScramError::Malformed(_))
    ));
}

/// The examples of RFC 4013.
#[test]
fn names_and_passwords_are_prepared() {
    let prepared = |text| prepare(text).map(std::borrow::Cow::into_owned);
    assert_eq!(prepared("I\u{AD}X").as_deref(), Some("IX"));
    assert_eq!(prepared("USER").as_deref(), Some("USER"));
    assert_eq!(prepared("\u{AA}").as_deref(), Some("a"));
    assert_eq!(prepared("\u{2168}").as_deref(), Some("IX"));
    for bad in ["", "\u{7}", "\u{627}1", "\u{AD}"] {
        assert_eq!(prepared(bad), None);
    }
}

#[test]
fn nothing_secret_is_shown() {
    assert_eq!(format!("{:?}", verifier("pencil")), "Verifier { .. }");
}

proptest! {
    // Each case hashes three times.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn both_ends_agree_on_any_name(name in "[a-z,=ü]{1,20}", is_right in any::<bool>()) {
        let client = Client::new(&name, "abc".to_owned());
        let server = Server::new(client.first().as_bytes()).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(server.username(), name);
        let verifier = Verifier::new("secret", [1; 16]);
        let asked = server.challenge(&verifier, "def");
        let Ok(challenge) = client.challenge(asked.as_bytes()) else {
            return Err(TestCaseError::fail("refused"));
        };
        let solved = challenge.solve(if is_right { "secret" } else { "wrong" });
        let answer = server.check(&verifier, &asked, solved.last().as_bytes());
        match answer {
            Ok(signature) => prop_assert!(is_right && solved.check(signature.as_bytes()).is_ok()),
            Err(error) => prop_assert!(!is_right && error == ScramError::Proof),
        }
    }

}

proptest! {
    #[test]
    fn no_bytes_break_either_end(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            "[nypc]?=?,(a=[a-z]*)?,?[nrcpmsi]?=?[ -~]{0,20},[nrcpi]=[ -~]{0,40}(,p=[A-Za-z0-9+/=]{0,50})?"
                .prop_map(String::into_bytes),
        ]
    ) {
        let _ = Server::new(&bytes);
        let _ = client().challenge(&bytes);
        let Ok(server) = Server::new(b"n,,n=user,r=abc") else {
            return Err(TestCaseError::fail("well formed"));
        };
        let verifier = Verifier::made_up(&[0; 32], "user");
        prop_assert!(server.check(&verifier, CHALLENGE, &bytes).is_err());
    }
}
