//! Why no answer came: a class for programs and a sentence for people.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use harbor_model::attempt::ErrorClass;
use rustls::CertificateError;

use crate::send::stream::ALLOWANCE_EXCEEDED;
use crate::send::target::HostName;

/// Why no answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// For programs.
    pub(super) class: ErrorClass,
    /// For people.
    pub(super) text: String,
}

/// The most characters in a failure's text.
const TEXT_CHARS_MAX: usize = 500;

impl Failure {
    /// A failure; of the text, which may quote a receiver, only what can be printed is kept.
    pub(super) fn new(class: ErrorClass, text: &str) -> Self {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Self { class, text: text.chars().map(printable).take(TEXT_CHARS_MAX).collect() }
    }

    /// Every address of `host` is forbidden; `address` is one of them.
    pub(super) fn blocked(host: &HostName, address: IpAddr) -> Self {
        let text = match host {
            HostName::Address(_) => format!("address {address} is not allowed"),
            HostName::Name(name) => format!("`{name}` resolves to {address}, which is not allowed"),
        };
        Self::new(ErrorClass::BlockedAddress, &format!("{text}: it is not on the public internet"))
    }

    /// The TCP connection could not be opened.
    pub(super) fn of_connect(error: &io::Error, address: impl std::fmt::Display) -> Self {
        let (class, text) = match error.kind() {
            io::ErrorKind::ConnectionRefused => (ErrorClass::ConnectionRefused, "connection refused"),
            io::ErrorKind::TimedOut => (ErrorClass::Timeout, "connecting took too long"),
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => {
                (ErrorClass::ConnectionReset, "connection reset")
            }
            // No route, no such network, no port left: nobody could be reached there.
            _ => return Self::new(ErrorClass::ConnectionRefused, &format!("{} ({address})", chain(error))),
        };
        Self::new(class, &format!("{text} ({address})"))
    }

    /// The TLS handshake failed.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        if let Some(tls) = find_cause::<rustls::Error>(error) {
            return Self::new(ErrorClass::Tls, &describe_tls(tls));
        }
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::new(ErrorClass::ConnectionReset, "connection reset in the TLS handshake")
            }
            io::ErrorKind::UnexpectedEof => {
                Self::new(ErrorClass::Tls, "connection closed in the TLS handshake")
            }
            _ => Self::new(ErrorClass::Tls, &format!("TLS handshake failed: {}", chain(error))),
        }
    }

    /// The connection gave no answer, over HTTP/1.1.
    pub(super) fn of_http1(error: &hyper::Error) -> Self {
        if let Some(failure) = Self::of_broken_connection(error) {
            return failure;
        }
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::new(ErrorClass::ConnectionReset, "connection closed before the answer");
        }
        Self::new(ErrorClass::Protocol, &chain(error))
    }

    /// The connection gave no answer, over HTTP/2.
    pub(super) fn of_http2(error: &h2::Error) -> Self {
        if let Some(failure) = error.get_io().and_then(|io| Self::of_broken_connection(io)) {
            return failure;
        }
        if error.is_io() || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)) {
            return Self::new(ErrorClass::ConnectionReset, "connection closed before the answer");
        }
        Self::new(ErrorClass::Protocol, &format!("HTTP/2: {}", chain(error)))
    }

    /// The failure, if a broken connection or a late TLS alert is at the bottom of `error`.
    fn of_broken_connection(error: &(dyn Error + 'static)) -> Option<Self> {
        // With TLS 1.3 a server refuses us after the handshake has ended for us.
        if let Some(tls) = find_cause::<rustls::Error>(error) {
            return Some(Self::new(ErrorClass::Tls, &describe_tls(tls)));
        }
        let text = match find_cause::<io::Error>(error)?.kind() {
            io::ErrorKind::UnexpectedEof => "connection closed before the answer",
            io::ErrorKind::TimedOut => {
                return Some(Self::new(ErrorClass::Timeout, "the connection timed out"));
            }
            ALLOWANCE_EXCEEDED => {
                let text = "the receiver sent far more than it was asked for";
                return Some(Self::new(ErrorClass::Protocol, text));
            }
            _ => "connection reset before the answer",
        };
        Some(Self::new(ErrorClass::ConnectionReset, text))
    }
}

/// Says in plain words what is wrong with a receiver's TLS.
fn describe_tls(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return format!("TLS failed: {error}");
    };
    let reason = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        CertificateError::UnknownIssuer => "the certificate's issuer is not trusted",
        CertificateError::Revoked => "the certificate was revoked",
        _ => return format!("the certificate is not valid: {error}"),
    };
    reason.to_owned()
}

/// The error of this type among `error` and its causes.
fn find_cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        // An `io::Error` shows the causes of what it wraps, but not what it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => cause.source(),
        };
    }
    None
}

/// The error and its causes in one line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        // Many errors already print their cause.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}
