//! How the signature of a token is checked: what the crate for tokens leaves to others, done by `ring`, which TLS has anyway.
//! Nothing is signed here.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{hmac, signature as schemes};
use signature::{Error, Verifier};

/// Who checks signatures.
pub(super) static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(Scheme::new(*algorithm, key)?)),
    // Only what derives keys from private ones asks for these.
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        rsa_pub_components_from_public_key: |_| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ec_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        ed_pub_components_from_private_key: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
        compute_digest: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
};

/// Of HMAC, by RFC 7518: as long as the hash.
const SECRET_BYTES_MIN: usize = 32;

/// Whether signatures of this algorithm can be checked.
pub(super) fn is_known(algorithm: Algorithm) -> bool {
    let has_hmac = mac(algorithm).is_some();
    has_hmac || rsa(algorithm).is_some() || point(algorithm).is_some()
}

/// Whether it is a secret that can be guessed.
pub(super) fn is_weak(key: &DecodingKey) -> bool {
    let length = key.try_get_as_bytes().map_or(0, <[u8]>::len);
    key.family() == AlgorithmFamily::Hmac && length < SECRET_BYTES_MIN
}

/// Whether they are one key.
pub(super) fn are_same(one: &DecodingKey, other: &DecodingKey) -> bool {
    let is_same = match (one.kind(), other.kind()) {
        (DecodingKeyKind::SecretOrDer(one), DecodingKeyKind::SecretOrDer(other)) => one == other,
        (
            DecodingKeyKind::RsaModulusExponent { n, e },
            DecodingKeyKind::RsaModulusExponent {
                n: other_n,
                e: other_e,
            },
        ) => n == other_n && e == other_e,
        _ => false,
    };
    is_same && one.family() == other.family()
}

struct Scheme {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Scheme {
    fn new(algorithm: Algorithm, key: &DecodingKey) -> Result<Self> {
        // A public key must never be taken for a secret.
        if !key.family().algorithms().contains(&algorithm) {
            return Err(ErrorKind::InvalidKeyFormat.into());
        }
        Ok(Self {
            algorithm,
            key: key.clone(),
        })
    }
}

impl Verifier<Vec<u8>> for Scheme {
    fn verify(&self, message: &[u8], given: &Vec<u8>) -> std::result::Result<(), Error> {
        let is_right = match (self.key.kind(), self.algorithm) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, algorithm) => {
                let key = schemes::RsaPublicKeyComponents { n, e };
                rsa(algorithm).is_some_and(|scheme| key.verify(scheme, message, given).is_ok())
            }
            (DecodingKeyKind::SecretOrDer(key), algorithm) => {
                if let Some(scheme) = mac(algorithm) {
                    hmac::verify(&hmac::Key::new(scheme, key), message, given).is_ok()
                } else {
                    point(algorithm).is_some_and(|scheme| {
                        let key = schemes::UnparsedPublicKey::new(scheme, key);
                        key.verify(message, given).is_ok()
                    })
                }
            }
        };
        is_right.then_some(()).ok_or_else(Error::new)
    }
}

impl JwtVerifier for Scheme {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn mac(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static schemes::RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&schemes::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&schemes::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&schemes::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&schemes::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&schemes::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&schemes::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

fn point(algorithm: Algorithm) -> Option<&'static dyn schemes::VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&schemes::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&schemes::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&schemes::ED25519),
        _ => None,
    }
}
