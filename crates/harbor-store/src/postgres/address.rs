//! Where the database is, and how it is reached: what its URL says.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use harbor_model::secret::Secret;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use zeroize::Zeroizing;

/// How long a peer that acknowledges nothing is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Which certificates of the server are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Certificates {
    /// Any.
    Any,
    /// Those that the system trusts, for the host's name.
    OfSystem,
    /// Those that are signed by one of this file, for the host's name.
    Of(PathBuf),
}

/// The database's URL, taken apart.
#[derive(Clone)]
pub(crate) struct Address {
    pub(crate) config: Config,
    pub(crate) certificates: Certificates,
}

impl Address {
    /// Takes a URL apart. The error says what is wrong without saying the URL, which holds a password.
    ///
    /// `sslmode` means what it means to libpq: `disable`, `prefer` (the default) and `require` take any
    /// certificate, unless `sslrootcert` names a file; `verify-ca` and `verify-full` hold it against that file or
    /// the system's roots, both for the host's name.
    pub(crate) fn parse(text: &Secret) -> Result<Self, String> {
        let text = text.expose();
        if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err("must begin with postgres:// or postgresql://".to_owned());
        }
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut mode = SslMode::Prefer;
        let mut is_verified = false;
        let mut roots = None;
        // The rest is for the client library, which does not know all of these.
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", "disable") => mode = SslMode::Disable,
                ("sslmode", "allow" | "prefer") => mode = SslMode::Prefer,
                ("sslmode", "require") => mode = SslMode::Require,
                ("sslmode", "verify-ca" | "verify-full") => {
                    mode = SslMode::Require;
                    is_verified = true;
                }
                ("sslmode", other) => return Err(format!("sslmode {other:?} is not known")),
                ("sslrootcert", "system") => is_verified = true,
                ("sslrootcert", path) => roots = Some(PathBuf::from(path)),
                _ => kept.push(pair),
            }
        }
        let text = Zeroizing::new(format!("{place}?{}", kept.join("&")));
        let mut config = Config::from_str(&text).map_err(|error| told(&error))?;
        if config.get_user().is_none() {
            return Err("must name a user".to_owned());
        }
        if config.get_dbname().is_none() {
            return Err("must name a database".to_owned());
        }
        config.ssl_mode(mode);
        config.tcp_user_timeout(SILENCE_MAX);
        config.keepalives(true).keepalives_idle(SILENCE_MAX);
        config.keepalives_interval(SILENCE_MAX / 4).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("harborhook");
        }
        let certificates = match roots {
            Some(path) => Certificates::Of(path),
            None if is_verified => Certificates::OfSystem,
            None => Certificates::Any,
        };
        Ok(Self { config, certificates })
    }
}

fn told(error: &tokio_postgres::Error) -> String {
    use std::error::Error;

    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, String> {
        Address::parse(&Secret::new(text.to_owned()))
    }

    #[test]
    fn tls_is_what_the_url_asks_for() {
        let check = |query: &str, mode, certificates| {
            let address = parse(&format!("postgres://hook:pw@db.example:5433/hook?{query}")).unwrap();
            assert_eq!(
                (address.config.get_ssl_mode(), address.certificates),
                (mode, certificates),
                "{query}"
            );
        };
        let file = || Certificates::Of("/etc/ca.pem".into());
        check("", SslMode::Prefer, Certificates::Any);
        check("sslmode=disable", SslMode::Disable, Certificates::Any);
        check("sslmode=require", SslMode::Require, Certificates::Any);
        check("sslmode=require&sslrootcert=/etc/ca.pem", SslMode::Require, file());
        check("sslmode=verify-full", SslMode::Require, Certificates::OfSystem);
        check("sslrootcert=/etc/ca.pem&sslmode=verify-ca", SslMode::Require, file());
    }

    #[test]
    fn a_url_keeps_its_password_its_places_and_its_options() {
        let several = parse("postgresql://hook@a:1,b:2/h?target_session_attrs=read-write&sslmode=require");
        assert_eq!(several.unwrap().config.get_hosts().len(), 2);
        let one = parse("postgresql://hook:p%2Bw%40x@a:1/h?application_name=my%20hook").unwrap();
        assert_eq!(one.config.get_password(), Some(&b"p+w@x"[..]));
        assert_eq!(one.config.get_application_name(), Some("my hook"));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_without_the_url() {
        for wrong in [
            "hook:secret@db/hook",
            "mysql://hook:secret@db/hook",
            "postgres://hook:secret@db/hook?sslmode=perhaps",
            "postgres://hook:secret@db/hook?colour=blue",
            "postgres://hook:secret@db",
            "postgres://db/hook",
        ] {
            let error = parse(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
