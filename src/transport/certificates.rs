//! Certificates to be thrown away, for tests: an authority of its own, and what goes right and wrong with it.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A certificate and its key, as PEM text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub cert: String,
    /// Its key (PKCS#8, not encrypted).
    pub key: String,
}

/// An authority and what it has issued. All names are for `localhost`, 127.0.0.1 and `::1` unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Certificates {
    /// The authority.
    pub ca: String,
    /// Another authority, which has issued nothing.
    pub other_ca: String,
    /// What the authority has taken back: `revoked` and `revoked_client`.
    pub crl: String,
    /// The same, of which time has run out.
    pub outdated_crl: String,
    /// A server's.
    pub server: Issued,
    /// A client's: `CN=client`, with `client@example.com` and `urn:rmqtt:client`.
    pub client: Issued,
    /// A server's, of which time has run out.
    pub expired: Issued,
    /// A server's, for `elsewhere.example`.
    pub wrong_host: Issued,
    /// A server's, taken back.
    pub revoked: Issued,
    /// A client's, taken back.
    pub revoked_client: Issued,
    /// A server's, by nobody but itself.
    pub self_signed: Issued,
}

const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl Certificates {
    /// Makes new ones.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new() -> Result<Self, Error> {
        let ca = authority("rmqtt tests")?;
        let other = authority("rmqtt tests, another one")?;
        let mut expired = server("expired", &HERE)?;
        expired.not_after = date_time_ymd(2021, 1, 1);
        let mut revoked = server("revoked", &HERE)?;
        revoked.serial_number = Some(SerialNumber::from(1001));
        let mut revoked_client = client("revoked-client")?;
        revoked_client.serial_number = Some(SerialNumber::from(1002));
        let own = KeyPair::generate()?;
        Ok(Self {
            crl: revocations(&ca, 2099)?,
            outdated_crl: revocations(&ca, 2023)?,
            server: issue(&server("server", &HERE)?, &ca)?,
            client: issue(&client("client")?, &ca)?,
            expired: issue(&expired, &ca)?,
            wrong_host: issue(&server("wrong host", &["elsewhere.example"])?, &ca)?,
            revoked: issue(&revoked, &ca)?,
            revoked_client: issue(&revoked_client, &ca)?,
            self_signed: Issued {
                cert: server("self-signed", &HERE)?.self_signed(&own)?.pem(),
                key: own.serialize_pem(),
            },
            other_ca: other.pem(),
            ca: ca.pem(),
        })
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, hosts: &[&str]) -> Result<CertificateParams, Error> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, name.to_owned());
    // No clock is asked: from before this was written until long after.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2099, 1, 1);
    Ok(params)
}

fn authority(name: &str) -> Result<Authority, Error> {
    let mut params = params(name, &[])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

fn server(name: &str, hosts: &[&str]) -> Result<CertificateParams, Error> {
    let mut params = params(name, hosts)?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn client(name: &str) -> Result<CertificateParams, Error> {
    let mut params = params(name, &[])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![
        SanType::Rfc822Name(format!("{name}@example.com").try_into()?),
        SanType::URI(format!("urn:rmqtt:{name}").try_into()?),
    ];
    Ok(params)
}

fn issue(params: &CertificateParams, ca: &Authority) -> Result<Issued, Error> {
    let key = KeyPair::generate()?;
    Ok(Issued {
        cert: params.signed_by(&key, ca)?.pem(),
        key: key.serialize_pem(),
    })
}

fn revocations(ca: &Authority, until_year: i32) -> Result<String, Error> {
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2022, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: date_time_ymd(2022, 1, 1),
        next_update: date_time_ymd(until_year, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(1001), revoked(1002)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(ca)?.pem()
}
