//! The limits of the HTTP client.

use std::time::Duration;

use harbor_model::attempt::RESPONSE_BYTES_KEPT_OF_FAILURE;

/// The limits of the HTTP client.
#[derive(Clone, Debug)]
pub struct SendSettings {
    /// How many idle HTTP/1.1 connections are kept to one host under one address policy.
    pub idle_per_host_max: usize,
    /// How many idle HTTP/1.1 connections are kept in all; each holds a file descriptor.
    pub idle_total_max: usize,
    /// How long an idle connection is kept. Shorter than the 60 to 75 seconds after which
    /// common servers close one, so that it is we who do.
    pub idle_timeout: Duration,
    /// How long a connection is used, so that receivers that move are followed.
    pub connection_age_max: Duration,
    /// How many addresses of one name are tried.
    pub addresses_max: usize,
    /// How long one address is tried while another one is left.
    pub address_patience: Duration,
    /// The most bytes in the head of an answer.
    pub response_head_bytes_max: usize,
    /// The most bytes that are read of an answer's body. A longer body costs its connection.
    pub response_body_bytes_max: usize,
    /// How long the body of an answer is waited for after its head.
    pub body_grace: Duration,
    /// How many TLS sessions are remembered for resumption.
    pub tls_sessions_max: usize,
    /// Certificates in PEM that are trusted besides those of the operating system.
    pub extra_roots_pem: Option<String>,
}

impl Default for SendSettings {
    fn default() -> Self {
        Self {
            idle_per_host_max: 256,
            idle_total_max: 512,
            idle_timeout: Duration::from_secs(50),
            connection_age_max: Duration::from_secs(300),
            addresses_max: 8,
            address_patience: Duration::from_secs(3),
            response_head_bytes_max: 64 * 1024,
            response_body_bytes_max: RESPONSE_BYTES_KEPT_OF_FAILURE,
            body_grace: Duration::from_secs(2),
            tls_sessions_max: 1024,
            extra_roots_pem: None,
        }
    }
}

/// The least that hyper takes as the size of its buffer, which bounds a head.
const HEAD_BYTES_MIN: usize = 8 * 1024;

/// The most that may be read of a head or a body, so that a mistaken setting does not fill the memory.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

impl SendSettings {
    /// Says what cannot work, by setting.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.addresses_max == 0 || self.address_patience.is_zero() {
            return Err("addresses_max and address_patience must be more than 0");
        }
        if self.connection_age_max.is_zero() {
            return Err("connection_age_max must be more than 0");
        }
        if !(HEAD_BYTES_MIN..=READ_BYTES_MAX).contains(&self.response_head_bytes_max) {
            return Err("response_head_bytes_max must be 8 KiB to 16 MiB");
        }
        if !(RESPONSE_BYTES_KEPT_OF_FAILURE..=READ_BYTES_MAX).contains(&self.response_body_bytes_max) {
            return Err(
                "response_body_bytes_max must be 16 KiB, which is what is kept of a failure, to 16 MiB",
            );
        }
        Ok(())
    }
}
