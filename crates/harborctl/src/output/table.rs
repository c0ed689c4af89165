//! Tables and details for people.

use std::fmt::Display;

use comfy_table::{Cell as DrawnCell, Color, ColumnConstraint, ContentArrangement, Table, presets};

use crate::output::View;
use crate::output::time;

/// The spaces between two columns.
const GAP: u16 = 2;
/// What a flexible column needs at least to be readable.
const FLEXIBLE_WIDTH_MIN: usize = 24;

/// A text with what it means for the one who reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

/// What a text means for the one who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Nothing.
    Plain,
    /// All is well.
    Good,
    /// Something is not done yet.
    Waiting,
    /// Something is wrong.
    Bad,
}

impl Cell {
    /// A text.
    pub(crate) fn new(text: impl Display) -> Self {
        Self::toned(text, Tone::Plain)
    }

    /// A text with a meaning.
    pub(crate) fn toned(text: impl Display, tone: Tone) -> Self {
        Self { text: plain(&text.to_string()), tone }
    }

    /// A text if there is one.
    pub(crate) fn maybe(text: Option<impl Display>) -> Self {
        text.map_or_else(|| Self::new("-"), Self::new)
    }

    /// A time of the API.
    pub(crate) fn time(time: &str, view: &View) -> Self {
        Self::new(time::relative(time, view.now))
    }

    /// The same text with another meaning.
    pub(crate) fn with_tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// A time of the API, also as a date.
    pub(crate) fn exact_time(time: &str, view: &View) -> Self {
        Self::new(time::exact(time, view.now))
    }

    /// The text in its colour, with spaces up to a width.
    pub(crate) fn painted(&self, width: usize, view: &View) -> String {
        let text = self.text.replace('\n', " ");
        let spaces = " ".repeat(width.saturating_sub(text.chars().count()));
        let code = match self.tone {
            Tone::Plain => None,
            Tone::Good => Some(32),
            Tone::Waiting => Some(33),
            Tone::Bad => Some(31),
        };
        match code.filter(|_| view.color) {
            Some(code) => format!("\u{1b}[{code}m{text}\u{1b}[0m{spaces}"),
            None => format!("{text}{spaces}"),
        }
    }

    fn draw(self) -> DrawnCell {
        let color = match self.tone {
            Tone::Plain => None,
            Tone::Good => Some(Color::Green),
            Tone::Waiting => Some(Color::Yellow),
            Tone::Bad => Some(Color::Red),
        };
        let cell = DrawnCell::new(self.text);
        match color {
            Some(color) => cell.fg(color),
            None => cell,
        }
    }
}

/// A column of a table of `T`.
pub(crate) struct Column<T> {
    header: &'static str,
    cell: fn(&T, &View) -> Cell,
    fit: Fit,
}

/// What becomes of a column where there is little room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// It stays as it is.
    Fixed,
    /// Its cells are broken into lines.
    Flexible,
    /// It is left out.
    Roomy,
}

impl<T> Column<T> {
    /// A column that is never broken.
    pub(crate) const fn new(header: &'static str, cell: fn(&T, &View) -> Cell) -> Self {
        Self { header, cell, fit: Fit::Fixed }
    }

    /// A column whose cells may be broken into lines.
    pub(crate) const fn flexible(header: &'static str, cell: fn(&T, &View) -> Cell) -> Self {
        Self { header, cell, fit: Fit::Flexible }
    }

    /// A column that is only shown where there is room.
    pub(crate) const fn roomy(header: &'static str, cell: fn(&T, &View) -> Cell) -> Self {
        Self { header, cell, fit: Fit::Roomy }
    }

    /// The width below which it cannot be read.
    fn width(&self, items: &[T], view: &View) -> usize {
        let texts = items.iter().map(|item| (self.cell)(item, view).text);
        let widest = texts.map(|text| text.chars().count()).chain([self.header.len()]).max().unwrap_or(0);
        let width = if self.fit == Fit::Flexible { widest.min(FLEXIBLE_WIDTH_MIN) } else { widest };
        width + usize::from(GAP)
    }
}

impl View {
    /// A table with a row for each of `items`; empty without any.
    pub(crate) fn table<T>(&self, items: &[T], columns: &[Column<T>]) -> String {
        if items.is_empty() {
            return String::new();
        }
        let columns = self.fitting(items, columns);
        let mut table = self.empty_table();
        table.set_header(columns.iter().map(|column| DrawnCell::new(column.header)));
        for item in items {
            table.add_row(columns.iter().map(|column| (column.cell)(item, self).draw()));
        }
        let fixed = columns.iter().enumerate().filter(|(_, column)| column.fit != Fit::Flexible);
        finish(table, fixed.map(|(index, _)| index))
    }

    /// Names and values below each other.
    pub(crate) fn details(&self, rows: Vec<(&str, Cell)>) -> String {
        let mut table = self.empty_table();
        for (name, cell) in rows {
            table.add_row([DrawnCell::new(name), cell.draw()]);
        }
        finish(table, [0])
    }

    /// The columns that fit: roomy ones are left out from the right.
    fn fitting<'a, T>(&self, items: &[T], columns: &'a [Column<T>]) -> Vec<&'a Column<T>> {
        let widths = columns.iter().map(|column| column.width(items, self));
        let mut fitting: Vec<_> = columns.iter().zip(widths).collect();
        let needed = |fitting: &[(_, usize)]| fitting.iter().map(|(_, width)| width).sum::<usize>();
        while self.width.is_some_and(|width| needed(&fitting) > usize::from(width)) {
            let Some(last_roomy) = fitting.iter().rposition(|(column, _)| column.fit == Fit::Roomy) else {
                break;
            };
            fitting.remove(last_roomy);
        }
        fitting.into_iter().map(|(column, _)| column).collect()
    }

    fn empty_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.force_no_tty();
        if self.color {
            table.enforce_styling();
            table.style_text_only();
        }
        if let Some(width) = self.width {
            table.set_width(width);
        }
        table
    }
}

fn finish(mut table: Table, fixed: impl IntoIterator<Item = usize>) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    for index in fixed {
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// A text without anything that moves the cursor or changes colours: what a receiver answered
/// must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let steers = |c: char| c.is_control() && c != '\n';
    if !text.contains(steers) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        match c {
            '\t' => plain.push(' '),
            '\r' => {}
            c if steers(c) => plain.extend(c.escape_default()),
            c => plain.push(c),
        }
        plain
    })
}

#[cfg(test)]
mod tests;
