use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_is_the_one_in_the_golden_file() {
    let mut command = Cli::command().term_width(80);
    command.build();
    let mut help = String::new();
    write_help(&mut help, &mut command);
    check_golden("help.txt", &help);
}

/// The help of a command and of everything below it.
fn write_help(help: &mut String, command: &mut Command) {
    let words = command.get_bin_name().unwrap_or("harborctl").to_owned();
    let text = command.clone().render_help().to_string();
    let rule = "=".repeat(80);
    help.push_str(&format!("{rule}\n$ {words} -h\n\n"));
    help.push_str(&if words == "harborctl" { text } else { without_global_options(&text) });
    help.push('\n');
    for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
        write_help(help, below);
    }
}

/// They are the same everywhere; once is enough.
fn without_global_options(text: &str) -> String {
    let Some(begin) = text.find("Global options:\n") else { return text.to_owned() };
    let end = text[begin..].find("\n\n").map_or(text.len(), |length| begin + length + 2);
    format!("{}{}", &text[..begin], &text[end.min(text.len())..])
}

/// Compares with a file that is under review; `UPDATE_GOLDEN=1` writes it anew.
#[expect(clippy::disallowed_methods, reason = "whoever runs the test says whether to write the file anew")]
fn check_golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let differing = expected.lines().zip(actual.lines()).find(|(expected, actual)| expected != actual);
    assert!(
        expected == actual,
        "{} differs, first at {differing:?}; if that is meant: UPDATE_GOLDEN=1 cargo test -p harborctl",
        path.display()
    );
}
