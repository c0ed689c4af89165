//! Holds the crates to the table of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which crates each crate may use, as the table says.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = include_str!("../../../ARCHITECTURE.md");
    let (_, table) = text.split_once("| crate | may use |").expect("ARCHITECTURE.md has the import table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let mut cells = row.trim_matches('|').splitn(2, '|').map(names);
        let name = cells.next().and_then(|names| names.into_iter().next()).expect("a row names a crate");
        (name, cells.next().expect("a row has two cells").into_iter().collect())
    })
    .collect()
}

#[test]
fn crates_use_only_what_the_table_allows() {
    let allowed = table();
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo answers");
    let ours: BTreeSet<_> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    assert_eq!(ours, allowed.keys().cloned().collect(), "the table names each crate once");

    for package in &metadata.packages {
        let name = package.name.to_string();
        for dependency in &package.dependencies {
            // What only tests use is theirs to choose.
            let is_for_tests = dependency.kind == DependencyKind::Development;
            if ours.contains(&dependency.name) && !is_for_tests {
                assert!(allowed[&name].contains(&dependency.name), "{name} may not use {}", dependency.name);
            }
        }
    }
}

#[test]
fn the_model_knows_no_database_no_network_and_no_runtime() {
    // Requests of providers are HTTP and mostly JSON: their verifier reads both, and talks to nobody.
    let check = |crate_name: &str, foreign: &[&str]| {
        let metadata = MetadataCommand::new().no_deps().exec().expect("cargo answers");
        let package = metadata.packages.iter().find(|package| package.name.as_str() == crate_name);
        let dependencies = &package.expect("the crate is there").dependencies;
        for dependency in dependencies.iter().filter(|d| d.kind == DependencyKind::Normal) {
            assert!(!foreign.contains(&dependency.name.as_str()), "{crate_name} uses {}", dependency.name);
        }
    };
    check("harbor-model", &["tokio", "hyper", "http", "axum", "rusqlite", "serde", "serde_json"]);
    check("harbor-signature", &["tokio", "hyper", "axum", "rusqlite"]);
}
