//! What lies around the process: environment variables, files of settings, terminals.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::{ServeArgs, StoreArgs};
use crate::settings::load::{ENV_CONFIG, ENV_PREFIX, Mistake, Sources};

/// The sources of `serve` and of `config`.
pub(crate) fn sources_of_serve(args: &ServeArgs) -> Result<Sources, Mistake> {
    let mut sources = sources(&args.store, args.given())?;
    if args.dev {
        sources.dev.push(("security.allow_http", "true"));
        if io::stderr().is_terminal() {
            sources.dev.push(("log.format", "text"));
        }
    }
    Ok(sources)
}

/// The sources of programs that look at the store alone.
pub(crate) fn sources_of_store(args: &StoreArgs) -> Result<Sources, Mistake> {
    sources(args, args.given())
}

fn sources(args: &StoreArgs, flags: Vec<(&'static str, String)>) -> Result<Sources, Mistake> {
    let env = ours(env::vars_os())?;
    let named = env.iter().find(|(name, path)| name == ENV_CONFIG && !path.is_empty());
    let file = match (&args.config, named) {
        (Some(path), _) => Some(read(path.clone(), "--config")?),
        (None, Some((name, path))) => Some(read(PathBuf::from(path), name)?),
        (None, None) => None,
    };
    Ok(Sources { dev: Vec::new(), file, env, flags })
}

/// The variables that are ours, by name.
fn ours(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<(String, String)>, Mistake> {
    let mut ours = Vec::new();
    for (name, text) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
        match text.into_string() {
            Ok(text) => ours.push((name.to_owned(), text)),
            Err(_) => return Err(Mistake { place: name.to_owned(), message: "must be UTF-8".to_owned() }),
        }
    }
    ours.sort_unstable();
    Ok(ours)
}

fn read(path: PathBuf, place: &str) -> Result<(PathBuf, String), Mistake> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(Mistake {
            place: place.to_owned(),
            message: format!("cannot read {}: {error}", path.display()),
        }),
    }
}

/// Whether a person reads the log, and wants colours.
#[expect(clippy::disallowed_methods, reason = "this module reads the environment for the others")]
pub(crate) fn is_coloured_terminal() -> bool {
    // See https://no-color.org.
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|text| text.is_empty())
}

/// How this program was called, to be shown in commands to try.
pub(crate) fn program() -> String {
    env::args().next().unwrap_or_else(|| "harborhook".to_owned())
}

/// So many files are enough for every limit's default, thrice.
const OPEN_FILES: u64 = 65_536;

/// What macOS allows at most, whatever it says.
const OPEN_FILES_OF_MACOS: u64 = 10_240;

/// Lets this process open as many files as it may: each connection is one, and shells allow few.
/// Answers how many those are; none where there is no limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    for wanted in [OPEN_FILES, OPEN_FILES_OF_MACOS] {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wanted = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if current.is_none_or(|current| current >= wanted) {
            return current;
        }
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).is_ok() {
            return Some(wanted);
        }
    }
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_raised_as_far_as_allowed() {
        let raised = raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(raised, current);
        let least = maximum.map_or(OPEN_FILES_OF_MACOS, |maximum| maximum.min(OPEN_FILES_OF_MACOS));
        assert!(current.is_none_or(|current| current >= least), "{current:?}");
    }

    #[test]
    fn only_variables_of_ours_are_read() {
        let pair = |name: &str, text: &str| (OsString::from(name), OsString::from(text));
        let all = [pair("PATH", "/bin"), pair("HARBORHOOK_LISTEN", "x"), pair("HARBORCTL_URL", "y")];
        assert_eq!(ours(all.into_iter()), Ok(vec![("HARBORHOOK_LISTEN".to_owned(), "x".to_owned())]));
    }
}
