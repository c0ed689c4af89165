//! Real sockets, hostile receivers.

mod addresses;
mod frames;
mod hostile;
mod http1;
mod http2;
mod kit;
mod tls;
