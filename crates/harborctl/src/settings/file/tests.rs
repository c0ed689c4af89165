use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn an_edit_keeps_comments_order_and_other_profiles() {
    let before = "# mine\n[profiles.live] # the real one\nbase_url = \"https://a.example\"\n\n[profiles.old]\ntenant = \"x\"\n";
    let changes = [(ProfileKey::Tenant, Some("acme")), (ProfileKey::BaseUrl, Some("https://b.example"))];
    let after = edit(before, "live", &changes).unwrap();
    assert_eq!(
        after,
        "# mine\n[profiles.live] # the real one\nbase_url = \"https://b.example\"\ntenant = \"acme\"\n\n[profiles.old]\ntenant = \"x\"\n"
    );
    let removed = edit(&after, "old", &[(ProfileKey::Tenant, None)]).unwrap();
    assert!(removed.ends_with("[profiles.old]\n"), "{removed}");
}

#[test]
fn an_edit_makes_what_is_missing() {
    let text = edit("", "default", &[(ProfileKey::ApiKey, Some("hhk_\"quoted\""))]).unwrap();
    let file = ConfigFile::parse(&text, Path::new("config.toml")).unwrap();
    assert_eq!(file.profile("default").unwrap().api_key.as_ref().unwrap().reveal(), "hhk_\"quoted\"");
    assert!(edit("profiles = 3", "default", &[]).is_err());
    assert!(edit("not toml", "default", &[]).is_err());
}

#[test]
fn a_field_that_is_not_known_is_refused_with_its_place() {
    let error = ConfigFile::parse("[profiles.a]\napi_kay = \"x\"\n", Path::new("config.toml")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("config.toml") && text.contains("api_kay") && text.contains("line 2"), "{text}");
}

#[test]
fn a_written_file_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/config.toml");
    write(&path, "first").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    write(&path, "second").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1);
}
