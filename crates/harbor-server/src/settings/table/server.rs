//! Where the instance is reached, and its keys.

use crate::settings::table::{HOUR, KIB, Key, MIB, MINUTE, SECOND, at, bytes_at, key};
use crate::settings::value::ByteSize;

pub(super) fn server() -> Vec<Key> {
    vec![
        key(
            "server.roles",
            at!(server.roles),
            "What this process does: api, worker, scheduler, or all. Processes with different roles share one PostgreSQL.",
        )
        .flag("roles")
        .short("HARBORHOOK_ROLES"),
        key(
            "server.queue",
            at!(server.queue),
            "What tells workers in other processes that there is work: local leaves it to the store.",
        )
        .flag("queue")
        .short("HARBORHOOK_QUEUE"),
        key("server.listen", at!(server.listen), "Where the API listens. Port 0 takes a free one.")
            .flag("listen")
            .short("HARBORHOOK_LISTEN"),
        key("server.ops_listen", at!(server.ops_listen), "Where metrics and health checks are served.")
            .flag("ops-listen")
            .short("HARBORHOOK_OPS_LISTEN"),
        key(
            "server.public_url",
            at!(server.public_url),
            "The URL under which others reach the API, where it differs from the listening address.",
        )
        .flag("public-url")
        .short("HARBORHOOK_PUBLIC_URL"),
        key("server.data_dir", at!(server.data_dir), "Where everything is kept. Made if it is missing.")
            .flag("data-dir")
            .short("HARBORHOOK_DATA_DIR"),
        key(
            "server.shutdown_grace",
            at!(server.shutdown_grace).within(SECOND, 10 * MINUTE),
            "How long a stop may take: requests under way are finished within it.",
        ),
        key(
            "server.connections_max",
            at!(server.connections.connections_max).within(1, 1_000_000),
            "The most connections of one listener. Further ones wait until one ends.",
        ),
        key(
            "server.head_bytes_max",
            bytes_at!(server.connections.head_bytes_max).within(ByteSize(8 * KIB), ByteSize(MIB)),
            "The most bytes in a request's line and headers. A request has at most 100 headers.",
        ),
        key(
            "server.head_timeout",
            at!(server.connections.head_timeout).within(SECOND, 10 * MINUTE),
            "How long a request's line and headers may take to arrive.",
        ),
        key(
            "server.idle_timeout",
            at!(server.connections.idle_timeout).within(SECOND, HOUR),
            "How long a connection without a request is kept.",
        ),
        key(
            "server.streams_max",
            at!(server.connections.streams_max).within(1, 10_000),
            "The most requests at a time on one HTTP/2 connection.",
        ),
    ]
}

pub(super) fn security() -> Vec<Key> {
    vec![
        key(
            "security.operator_key",
            at!(security.operator_key),
            "The key of the operator: hhk_ and at least 32 characters. Better in the environment than in a file.",
        )
        .short("HARBORHOOK_OPERATOR_KEY"),
        key("security.operator_key_file", at!(security.operator_key_file), "A file that holds the operator key.")
            .flag("operator-key-file")
            .short("HARBORHOOK_OPERATOR_KEY_FILE"),
        key(
            "security.master_key",
            at!(security.master_key),
            "The key that secrets are encrypted under: 32 bytes in hexadecimal or base64. Without one, it is made in the data directory.",
        )
        .short("HARBORHOOK_MASTER_KEY"),
        key("security.master_key_file", at!(security.master_key_file), "A file that holds the master key.")
            .flag("master-key-file")
            .short("HARBORHOOK_MASTER_KEY_FILE"),
        key(
            "security.allow_http",
            at!(security.allow_http),
            "Whether endpoints of every tenant may have http URLs.",
        ),
        key(
            "security.allowed_subnets",
            at!(security.allowed_subnets),
            "Subnets that endpoints of every tenant may lie in though they are not on the public internet.",
        ),
        key(
            "security.extra_roots_file",
            at!(security.extra_roots_file),
            "Certificates in PEM that endpoints are trusted by, besides those of the operating system.",
        ),
    ]
}
