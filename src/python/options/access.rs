//! Who may come in to a broker of Python's.

use super::super::broker::NativeBroker;
use super::super::errors::Failure;
use super::super::hooks::NativeLogins;
use super::{AclArgument, duration};
use crate::broker::auth::{Auth, AuthLimits, PasswordFile, Source, TokenTerms, Tokens, Users};
use crate::broker::rights::{Policy, RefereeLimits};
use crate::broker::{BrokerError, Local};
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `rmqtt.AuthLimits`.
#[derive(FromPyObject)]
struct AuthLimitsArguments {
    failures_per_address: u32,
    failures_per_user: u32,
    forget_failure_after: f64,
    remembered_max: usize,
    hashing_max: usize,
    waiting_max: usize,
    hooks_max: usize,
    hook_timeout: f64,
}

/// Who may connect at a listener, and what they may do.
pub(super) type LocalAccess = (Local<Arc<Auth>>, Local<Policy>);

/// Hashing each password takes a while.
fn read_auth(
    sources: Vec<SourceArgument>,
    limits: AuthLimits,
    py: Python<'_>,
) -> PyResult<Arc<Auth>> {
    let read = move || {
        let sources: Result<_, _> = sources.into_iter().map(SourceArgument::read).collect();
        Auth::new(sources?, limits)
    };
    py.detach(read)
        .map(Arc::new)
        .map_err(|error| Failure::from(error).to_py(py))
}

/// Who may come in, by name.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct AccessArguments {
    pub(super) allow_anonymous: bool,
    auth: Option<AuthArgument>,
    auth_limits: AuthLimitsArguments,
    /// Of each listener.
    local: Vec<LocalArguments>,
}

/// What goes at one listener, by name: `None` is what goes everywhere, and a tuple what goes there.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct LocalArguments {
    auth: Option<(Option<Vec<SourceArgument>>,)>,
    acl: Option<(Option<AclArgument>,)>,
}

/// Where users come from: their sources, or another broker.
#[derive(FromPyObject)]
enum AuthArgument {
    Of(Py<NativeBroker>),
    New(Vec<SourceArgument>),
}

/// Names and passwords, what a callable is asked about, or the path of a file.
#[derive(FromPyObject)]
enum SourceArgument {
    Users(Vec<(String, String)>),
    Logins(Py<NativeLogins>),
    Tokens(TokensArgument),
    Passwords(PathBuf),
}

/// `rmqtt.JWT`.
#[derive(FromPyObject)]
struct TokensArgument {
    keys: PathBuf,
    algorithms: Vec<String>,
    issuer: Option<String>,
    audience: Option<String>,
    user_claim: String,
    leeway: f64,
}

impl TokensArgument {
    fn read(self) -> Result<Tokens, BrokerError> {
        let leeway = Duration::try_from_secs_f64(self.leeway)
            .map_err(|error| BrokerError::Options(format!("leeway: {error}")))?;
        let terms = TokenTerms {
            algorithms: self.algorithms,
            issuer: self.issuer,
            audience: self.audience,
            user_claim: self.user_claim,
            leeway,
        };
        Tokens::open(self.keys, terms)
    }
}

impl SourceArgument {
    fn read(self) -> Result<Source, BrokerError> {
        Ok(match self {
            Self::Users(users) => Source::Users(Arc::new(Users::new(users)?)),
            Self::Tokens(tokens) => Source::Tokens(Arc::new(tokens.read()?)),
            Self::Logins(logins) => Source::Hook(logins.get().hook()),
            Self::Passwords(path) => Source::Passwords(Arc::new(PasswordFile::open(path)?)),
        })
    }
}

impl AuthLimitsArguments {
    fn read(&self) -> PyResult<AuthLimits> {
        Ok(AuthLimits {
            failures_per_address: self.failures_per_address,
            failures_per_user: self.failures_per_user,
            forget_failure_after: duration(
                "auth_limits.forget_failure_after",
                self.forget_failure_after,
            )?,
            remembered_max: self.remembered_max,
            hashing_max: self.hashing_max,
            waiting_max: self.waiting_max,
            hooks_max: self.hooks_max,
            hook_timeout: duration("auth_limits.hook_timeout", self.hook_timeout)?,
        })
    }
}

impl AccessArguments {
    /// What asking for rights may cost: the same as asking for users.
    pub(super) fn referee_limits(&self) -> PyResult<RefereeLimits> {
        let limits = self.auth_limits.read()?;
        Ok(RefereeLimits {
            open_max: limits.hooks_max,
            timeout: limits.hook_timeout,
        })
    }

    /// Those who may.
    pub(super) fn auth(self, py: Python<'_>) -> PyResult<Option<Arc<Auth>>> {
        let limits = self.auth_limits.read()?;
        let sources = match self.auth {
            None => return Ok(None),
            Some(AuthArgument::Of(broker)) => return broker.get().auth(),
            Some(AuthArgument::New(sources)) => sources,
        };
        read_auth(sources, limits, py).map(Some)
    }

    /// What goes at each listener.
    pub(super) fn local(&mut self, py: Python<'_>) -> PyResult<Vec<LocalAccess>> {
        let limits = self.auth_limits.read()?;
        let read = |local: LocalArguments| {
            let auth = match local.auth {
                None => Local::AsEverywhere,
                Some((None,)) => Local::Here(None),
                Some((Some(sources),)) => {
                    Local::Here(Some(read_auth(sources, limits.clone(), py)?))
                }
            };
            let acl = match local.acl {
                None => Local::AsEverywhere,
                Some((acl,)) => Local::Here(acl.map(|acl| acl.read(py)).transpose()?),
            };
            Ok((auth, acl))
        };
        std::mem::take(&mut self.local)
            .into_iter()
            .map(read)
            .collect()
    }
}
