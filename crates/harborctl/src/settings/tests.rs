use super::*;

const PROFILE_KEY: &str = "hhk_profile";
const DEV_KEY: &str = "hhk_dev";
const DEV_OPERATOR: &str = "hhk_dev_operator";

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// What can be said about a server and its keys, in each place.
#[derive(Clone, Copy, Default)]
struct Case {
    flag_url: Option<&'static str>,
    env_url: Option<&'static str>,
    flag_key: Option<&'static str>,
    env_key: Option<&'static str>,
    flag_tenant: Option<&'static str>,
    profile_url: Option<&'static str>,
    profile_key: Option<&'static str>,
    profile_operator: Option<&'static str>,
    profile_tenant: Option<&'static str>,
    dev: bool,
}

impl Case {
    fn sources(self) -> Sources {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let profile = Profile {
            base_url: own(self.profile_url),
            api_key: self.profile_key.map(secret),
            operator_key: self.profile_operator.map(secret),
            tenant: own(self.profile_tenant),
            ..Profile::default()
        };
        let profiles =
            if profile == Profile::default() { None } else { Some((PROFILE_DEFAULT.to_owned(), profile)) };
        Sources {
            flags: GlobalArgs {
                base_url: own(self.flag_url),
                api_key: self.flag_key.map(secret),
                tenant: own(self.flag_tenant),
                ..GlobalArgs::default()
            },
            environment: Environment {
                base_url: own(self.env_url),
                api_key: own(self.env_key),
                ..Environment::default()
            },
            file: ConfigFile { default_profile: None, profiles: profiles.into_iter().collect() },
            dev: self.dev.then(|| DevCredentials {
                base_url: "http://dev".to_owned(),
                tenant_id: "tn_demo".to_owned(),
                api_key: secret(DEV_KEY),
                operator_key: secret(DEV_OPERATOR),
            }),
        }
    }
}

#[test]
fn decides_which_server_key_and_tenant() {
    let check = |case: Case, expected: [&str; 4], why: &str| {
        let settings = resolve(&case.sources()).unwrap();
        let shown =
            |key: Result<&Secret, SettingsError>| key.map_or("-".to_owned(), |k| k.reveal().to_owned());
        let tenant = settings.tenant.as_ref().map_or("-".to_owned(), |tenant| tenant.value.clone());
        let actual = [
            settings.base_url.value.clone(),
            shown(settings.tenant_key()),
            shown(settings.operator_key()),
            tenant,
        ];
        assert_eq!(actual, expected, "{why}");
    };
    let none = Case::default();
    let dev = Case { dev: true, ..none };
    let profile = Case {
        profile_url: Some("https://p"),
        profile_key: Some(PROFILE_KEY),
        profile_tenant: Some("acme"),
        ..none
    };

    check(none, [BASE_URL_DEFAULT, "-", "-", "-"], "nothing is said");
    check(dev, ["http://dev", DEV_KEY, DEV_OPERATOR, "tn_demo"], "only the dev credentials are there");
    check(profile, ["https://p", PROFILE_KEY, PROFILE_KEY, "acme"], "a profile is there");
    check(
        Case { dev: true, ..profile },
        ["https://p", PROFILE_KEY, PROFILE_KEY, "acme"],
        "a profile goes before the dev credentials",
    );
    check(
        Case { profile_operator: Some("hhk_op"), ..profile },
        ["https://p", PROFILE_KEY, "hhk_op", "acme"],
        "a profile may have a key for the instance",
    );
    check(
        Case { env_url: Some("http://e"), env_key: Some("hhk_e"), ..profile },
        ["http://e", "hhk_e", "hhk_e", "acme"],
        "the environment goes before a profile",
    );
    check(
        Case {
            flag_url: Some("http://f"),
            flag_key: Some("hhk_f"),
            env_url: Some("http://e"),
            env_key: Some("hhk_e"),
            ..profile
        },
        ["http://f", "hhk_f", "hhk_f", "acme"],
        "a flag goes before everything",
    );
    check(
        Case { flag_key: Some("hhk_f"), profile_operator: Some("hhk_op"), ..profile },
        ["https://p", "hhk_f", "hhk_f", "acme"],
        "a key given by hand serves for everything",
    );
    check(
        Case { flag_url: Some("http://elsewhere"), ..profile },
        ["http://elsewhere", "-", "-", "acme"],
        "a stored key is not handed to another server",
    );
    check(
        Case { flag_url: Some("https://p/"), ..profile },
        ["https://p/", PROFILE_KEY, PROFILE_KEY, "acme"],
        "a closing slash makes no other server",
    );
    check(
        Case { env_url: Some("http://elsewhere"), ..dev },
        ["http://elsewhere", "-", "-", "-"],
        "dev credentials are not handed to another server",
    );
    check(
        Case { flag_url: Some("http://dev"), ..dev },
        ["http://dev", DEV_KEY, DEV_OPERATOR, "tn_demo"],
        "dev credentials serve where their server is named",
    );
    check(
        Case { flag_key: Some("hhk_f"), ..dev },
        ["http://dev", "hhk_f", "hhk_f", "-"],
        "with a key of one's own, only the server of the dev credentials is used",
    );
    check(
        Case { flag_tenant: Some("acme"), ..dev },
        ["http://dev", DEV_OPERATOR, DEV_OPERATOR, "acme"],
        "another tenant than the key's own takes the operator's key",
    );
    check(
        Case { flag_tenant: Some("tn_demo"), ..dev },
        ["http://dev", DEV_KEY, DEV_OPERATOR, "tn_demo"],
        "the key's own tenant takes the key",
    );
    check(
        Case { profile_tenant: Some("acme"), ..dev },
        ["http://dev", DEV_OPERATOR, DEV_OPERATOR, "acme"],
        "a profile without server and keys leaves them to the dev credentials",
    );
}

#[test]
fn every_value_says_where_it_stands() {
    let case = Case { env_url: Some("http://dev"), flag_tenant: Some("acme"), dev: true, ..Case::default() };
    let settings = resolve(&case.sources()).unwrap();
    assert_eq!(settings.base_url.source.to_string(), "environment HARBORCTL_BASE_URL");
    assert_eq!(settings.tenant.unwrap().source.to_string(), "flag --tenant");
    assert_eq!(settings.api_key.unwrap().source.to_string(), "dev credentials");
    assert_eq!(settings.output.source.to_string(), "default");
}

#[test]
fn the_profile_is_chosen_by_flag_environment_file_and_name() {
    let profile = |tenant: &str| Profile { tenant: Some(tenant.to_owned()), ..Profile::default() };
    let names = ["flag", "env", "file", "default"];
    let profiles = names.map(|name| (name.to_owned(), profile(name))).into_iter().collect();
    let file = ConfigFile { default_profile: Some("file".to_owned()), profiles };
    let mut sources = Sources { file, ..Sources::default() };
    sources.environment.profile = Some("env".to_owned());
    sources.flags.profile = Some("flag".to_owned());
    let tenant = |sources: &Sources| resolve(sources).unwrap().tenant.unwrap().value;

    assert_eq!(tenant(&sources), "flag");
    sources.flags.profile = None;
    assert_eq!(tenant(&sources), "env");
    sources.environment.profile = None;
    assert_eq!(tenant(&sources), "file");
    sources.file.default_profile = None;
    assert_eq!(tenant(&sources), "default");

    sources.flags.profile = Some("staging".to_owned());
    let error = resolve(&sources).unwrap_err().to_string();
    assert_eq!(error, "there is no profile `staging`; there is default, env, file, flag");
}

#[test]
fn a_wrong_value_names_its_place() {
    let mut sources = Sources::default();
    sources.environment.output = Some("xml".to_owned());
    let error = resolve(&sources).unwrap_err().to_string();
    assert!(error.starts_with("environment HARBORCTL_OUTPUT is `xml`: "), "{error}");

    sources.environment.output = None;
    sources.environment.timeout = Some("soon".to_owned());
    let error = resolve(&sources).unwrap_err().to_string();
    assert!(error.starts_with("environment HARBORCTL_TIMEOUT is `soon`: "), "{error}");
}

#[test]
fn a_flag_goes_before_the_environment_for_the_output_too() {
    let mut sources = Sources::default();
    sources.flags.output = Some(Format::Json);
    sources.environment.output = Some("yaml".to_owned());
    assert_eq!(resolve(&sources).unwrap().output.value, Format::Json);
}
