//! How the daemon starts beside others, and how it ends.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};

use crate::daemon::{get, run, serve, start};

#[test]
fn a_termination_ends_it_well() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT"] {
        let daemon = start(serve(folder.path()));
        // An open connection does not keep it.
        let mut stream = TcpStream::connect(daemon.api).unwrap();
        daemon.signal(signal);
        let ended = daemon.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(ended.stderr.contains("harborhook has stopped"), "{ended:?}");
        let mut left = Vec::new();
        assert_eq!(stream.read_to_end(&mut left).unwrap_or_default(), 0);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let mut command =
        crate::daemon::harborhook(&["serve", "--listen", "127.0.0.1:0", "--ops-listen", &address]);
    command.arg("--data-dir").arg(folder.path().join("data"));

    let ended = run(command);

    assert_eq!(ended.status.code(), Some(1));
    let expected =
        format!("harborhook: cannot listen on {address} (--ops-listen): another program listens there\n");
    assert_eq!(ended.stderr, expected);
    assert!(!folder.path().join("data").exists());
}

#[test]
fn two_instances_do_not_share_a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = start(serve(folder.path()));
    let ended = run(serve(folder.path()));
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("another process uses this store"), "{ended:?}");
    assert_eq!(get(daemon.api, "/readyz", &[]).0, 200);
    daemon.stop();
}

#[test]
fn a_hangup_reads_the_log_level_anew() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("h.toml");
    fs::write(&file, "[log]\nlevel = \"info\"\n").unwrap();
    let mut command = serve(&folder.path().join("data"));
    command.arg("--config").arg(&file);
    let mut daemon = start(command);

    fs::write(&file, "[log]\nlevel = \"info,harborhook=debug\"\n").unwrap();
    daemon.signal("HUP");
    assert_eq!(daemon.logs("the log level is")["log_level"], "info,harborhook=debug");

    fs::write(&file, "[log]\nlevel = 1\n").unwrap();
    daemon.signal("HUP");
    let line = daemon.logs("were not read anew");
    assert_eq!(line["level"], "ERROR", "it goes on as it was");
    assert_eq!(daemon.stop().status.code(), Some(0));
}
