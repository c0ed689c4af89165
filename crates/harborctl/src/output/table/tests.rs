use jiff::Timestamp;

use super::*;

struct Row {
    id: &'static str,
    state: &'static str,
    note: &'static str,
    url: &'static str,
}

const COLUMNS: &[Column<Row>] = &[
    Column::new("ID", |row, _| Cell::new(row.id)),
    Column::new("STATE", |row, _| Cell::toned(row.state, Tone::Bad)),
    Column::roomy("NOTE", |row, _| Cell::new(row.note)),
    Column::flexible("URL", |row, _| Cell::new(row.url)),
];

fn view(width: Option<u16>) -> View {
    View { width, color: false, now: Timestamp::UNIX_EPOCH }
}

fn rows() -> [Row; 2] {
    let url = "https://example.com/a/rather/long/path/of/hooks";
    [
        Row { id: "ep_01jd3x7m2r8v4q6t0w9y1z3b5d", state: "dead", note: "first", url },
        Row { id: "ep_2", state: "ok", note: "second", url: "https://x" },
    ]
}

#[test]
fn without_a_terminal_every_row_is_a_line() {
    let text = view(None).table(&rows(), COLUMNS);
    assert_eq!(
        text,
        "ID                             STATE  NOTE    URL\n\
         ep_01jd3x7m2r8v4q6t0w9y1z3b5d  dead   first   https://example.com/a/rather/long/path/of/hooks\n\
         ep_2                           ok     second  https://x"
    );
}

#[test]
fn on_a_narrow_terminal_roomy_columns_go_and_flexible_ones_break() {
    let text = view(Some(60)).table(&rows(), COLUMNS);
    assert_eq!(
        text,
        "ID                             STATE  URL\n\
         ep_01jd3x7m2r8v4q6t0w9y1z3b5d  dead   https://example.com/\n\
         \x20                                     a/rather/long/path/o\n\
         \x20                                     f/hooks\n\
         ep_2                           ok     https://x"
    );
    assert!(view(Some(80)).table(&rows(), COLUMNS).lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn colour_is_only_where_it_may_be() {
    let color = View { color: true, ..view(None) };
    assert!(color.table(&rows(), COLUMNS).contains("\u{1b}["));
    assert!(!view(None).table(&rows(), COLUMNS).contains('\u{1b}'));
}

#[test]
fn nothing_is_no_table() {
    assert_eq!(view(None).table(&[], COLUMNS), "");
}

#[test]
fn what_a_receiver_answered_does_not_steer_the_terminal() {
    assert_eq!(plain("a\u{1b}[2Jb\r\n\tc\u{9b}"), "a\\u{1b}[2Jb\n c\\u{9b}");
    assert_eq!(plain("é 漢"), "é 漢");
}
