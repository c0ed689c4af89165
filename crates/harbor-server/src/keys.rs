//! The keys that an instance cannot start without: the master key and the operator key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use harbor_auth::key::{OperatorKeyError, validate_operator_key};
use harbor_model::chance::Rng;
use harbor_model::secret::Secret;
use harbor_store::{MasterKey, MasterKeyError};

use crate::settings::SecuritySettings;

/// Says why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The operator key is no operator key.
    #[error("{place}: {source}")]
    Operator { place: String, source: OperatorKeyError },
    /// The master key is no master key.
    #[error("{place}: {source}")]
    Master { place: String, source: MasterKeyError },
    /// A file cannot be read or written.
    #[error("cannot {act} {}: {source}", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
    /// Others may read the master key.
    #[error("{} may be read by others (mode {mode:03o}); make it private: chmod 600", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    /// There is a store and no key to it.
    #[error(
        "the store {} exists, but its master key {} does not: bring the key back, or give it with \
         --master-key-file or HARBORHOOK_MASTER_KEY; without it endpoint secrets cannot be read",
        store.display(), path.display()
    )]
    Lost { store: PathBuf, path: PathBuf },
}

/// The name of the master key in the data directory.
const MASTER_KEY_FILE: &str = "master.key";

/// The operator key that the settings give, if they give one.
pub(crate) fn operator_key(settings: &SecuritySettings) -> Result<Option<Secret>, KeyError> {
    let (place, key) = match (&settings.operator_key, &settings.operator_key_file) {
        (Some(key), _) => ("HARBORHOOK_OPERATOR_KEY".to_owned(), key.clone()),
        (None, Some(path)) => (path.display().to_string(), Secret::new(read(path)?.trim().to_owned())),
        (None, None) => return Ok(None),
    };
    validate_operator_key(&key).map_err(|source| KeyError::Operator { place, source })?;
    Ok(Some(key))
}

/// The master key: given, or kept in the data directory, or made there for a store that does not exist yet.
/// `store` is the embedded store's file; a server's database is asked when it is opened.
pub(crate) fn master_key(
    settings: &SecuritySettings,
    data_dir: &Path,
    store: Option<&Path>,
    rng: &dyn Rng,
) -> Result<MasterKey, KeyError> {
    if let Some(key) = &settings.master_key {
        return parse("HARBORHOOK_MASTER_KEY", key.expose());
    }
    if let Some(path) = &settings.master_key_file {
        return parse(&path.display().to_string(), &read(path)?);
    }
    let path = data_dir.join(MASTER_KEY_FILE);
    if !path.exists() {
        if let Some(store) = store.filter(|store| store.exists()) {
            return Err(KeyError::Lost { store: store.to_owned(), path });
        }
        make(&path, &MasterKey::generate(rng))?;
    }
    let mode =
        fs::metadata(&path).map_err(|source| failed("read", &path, source))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path, mode });
    }
    parse(&path.display().to_string(), &read(&path)?)
}

fn parse(place: &str, text: &str) -> Result<MasterKey, KeyError> {
    MasterKey::parse(text).map_err(|source| KeyError::Master { place: place.to_owned(), source })
}

fn read(path: &Path) -> Result<String, KeyError> {
    fs::read_to_string(path).map_err(|source| failed("read", path, source))
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> KeyError {
    KeyError::File { act, path: path.to_owned(), source }
}

/// Puts a new key where there is none. If another process was faster, its key stands.
fn make(path: &Path, key: &MasterKey) -> Result<(), KeyError> {
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let written = write_private(&draft, key.to_text().as_bytes()).and_then(|()| {
        // Unlike a rename, a link never takes the place of a key that something is encrypted under.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => sync_parent(path),
        }
    });
    let removed = fs::remove_file(&draft);
    written.and(removed).map_err(|source| failed("write", path, source))
}

/// Writes a file that only its owner may read, down to the disk.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // A file that was left behind keeps its mode when it is opened.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes the name of a new file last.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use harbor_model::chance::SeededRng;

    use super::*;

    fn given(settings: &SecuritySettings, folder: &Path) -> Result<[u8; 32], String> {
        let key = master_key(settings, folder, Some(&folder.join("harborhook.db")), &SeededRng::new(1));
        key.map(|key| key.derive("test")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_master_key_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MASTER_KEY_FILE);
        let made = given(&SecuritySettings::default(), folder.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        assert_eq!(given(&SecuritySettings::default(), folder.path()), Ok(made));
    }

    #[test]
    fn a_master_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        given(&SecuritySettings::default(), folder.path()).unwrap();
        let path = folder.path().join(MASTER_KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = given(&SecuritySettings::default(), folder.path()).unwrap_err();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn no_new_key_is_made_for_a_store_that_has_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("harborhook.db"), "").unwrap();
        let error = given(&SecuritySettings::default(), folder.path()).unwrap_err();
        assert!(error.contains("its master key"), "{error}");
        assert!(!folder.path().join(MASTER_KEY_FILE).exists());
    }

    #[test]
    fn a_key_can_be_given_as_text_or_as_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let text = "07".repeat(32);
        let path = folder.path().join("given");
        fs::write(&path, format!("{text}\n")).unwrap();
        let by_text = SecuritySettings { master_key: Some(Secret::new(text)), ..SecuritySettings::default() };
        let by_file = SecuritySettings { master_key_file: Some(path.clone()), ..SecuritySettings::default() };
        let expected = MasterKey::from_bytes([7; 32]).derive("test");
        assert_eq!(given(&by_text, folder.path()), Ok(expected));
        assert_eq!(given(&by_file, folder.path()), Ok(expected));
        fs::write(&path, "short").unwrap();
        let error = given(&by_file, folder.path()).unwrap_err();
        assert!(error.ends_with("a master key is 32 bytes, written as 64 hexadecimal digits or as base64"));
    }

    #[test]
    fn an_operator_key_keeps_its_rule() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let settings =
            SecuritySettings { operator_key_file: Some(path.clone()), ..SecuritySettings::default() };
        fs::write(&path, format!("hhk_{}\n", "x".repeat(32))).unwrap();
        assert_eq!(operator_key(&settings).unwrap(), Some(Secret::new(format!("hhk_{}", "x".repeat(32)))));
        fs::write(&path, "hhk_secretly-too-short").unwrap();
        let error = operator_key(&settings).unwrap_err().to_string();
        assert!(error.contains("32 to") && !error.contains("secretly"), "{error}");
        assert_eq!(operator_key(&SecuritySettings::default()).unwrap(), None);
    }
}
