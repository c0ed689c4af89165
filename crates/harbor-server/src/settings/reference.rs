//! The page of the documentation that lists every setting.

use std::fmt::Write;
use std::path::Path;

use crate::settings::Settings;
use crate::settings::table::keys;

const INTRODUCTION: &str = "\
# Settings

<!-- Written by `UPDATE_GOLDEN=1 cargo test -p harbor-server reference`; do not edit. -->

A setting comes from, in this order of strength: a flag, an environment variable, the file that `--config` or `HARBORHOOK_CONFIG` names, and the default.
In the file, which is TOML, the part of the key before the dot is the section.
The environment variable of each key is `HARBORHOOK_<SECTION>_<KEY>`, like `HARBORHOOK_LOG_LEVEL`; shorter names are listed where there are any.
A list is a list in the file, and separated by commas elsewhere.
An empty environment variable counts as not set.

`harborhook config check` shows every mistake at once.
`harborhook config print` shows every value and where it came from; secrets are masked.
";

const SECTIONS: &[(&str, &str)] = &[
    ("server", "Where the instance is reached, and what it allows to connections."),
    ("security", "Keys, and what endpoints may be."),
    ("store", "The embedded store."),
    ("postgres", "PostgreSQL as the store."),
    ("api", "Limits of the API."),
    ("publish", "Limits of a publish."),
    (
        "policy",
        "How deliveries are tried where neither the tenant nor the endpoint says so. The fields are those of the API's policies.",
    ),
    (
        "quota",
        "How much each tenant may publish where it has no quota of its own. What is beyond it gets 429.",
    ),
    ("retention", "How long what happened is kept where the tenant does not say so, and how it is removed."),
    ("worker", "Limits of delivering."),
    ("replay", "Limits of replays."),
    ("jobs", "Work on many deliveries: bulk replays, bulk cancels, and the purge of deleted tenants."),
    ("upkeep", "Clearing up behind deliveries."),
    (
        "leadership",
        "Which process has a task that one process does at a time: clearing up, and carrying out jobs.",
    ),
    ("log", "Logs."),
    ("metrics", "Metrics."),
];

fn page() -> String {
    let defaults = Settings::default();
    let mut page = INTRODUCTION.to_owned();
    let mut described = 0;
    for (section, help) in SECTIONS {
        let header = "| key | what | value | default | also |\n|---|---|---|---|---|";
        writeln!(page, "\n## [{section}]\n\n{help}\n\n{header}").unwrap();
        for key in keys().iter().filter(|key| key.name.split('.').next() == Some(*section)) {
            let default = key.show(&defaults);
            let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
            let flag = key.flag.map(|flag| format!("`--{flag}`"));
            let env = key.env_short.map(|env| format!("`{env}`"));
            let also = [flag, env].into_iter().flatten().collect::<Vec<_>>().join(", ");
            writeln!(page, "| `{}` | {} | {} | {default} | {also} |", key.name, key.help, key.kind())
                .unwrap();
            described += 1;
        }
    }
    assert_eq!(described, keys().len(), "each section is described");
    page
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a developer says whether the page is to be written anew")]
fn the_page_lists_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page(), "docs/reference/configuration.md is old: run with UPDATE_GOLDEN=1");
}
