//! Wipes what is left in the unused parts of pages.
//!
//! SQLite overwrites what is deleted (`secure_delete`), but not the copies that it leaves behind when it moves
//! rows within a page or between pages: they lie between the list of a page's cells and the cells. Whoever
//! purges must be sure of these bytes, too. They mean nothing, so they are wiped in the file itself.
//!
//! A page that was clean once after the rows were deleted stays so: what is copied later are the rows that are
//! left. So the file is read while the writer goes on, and only where something is found the writer stands still.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

/// Where the size of a page stands in the file, in two bytes.
const PAGE_SIZE_AT: u64 = 16;

/// The first page begins with the header of the file.
const FILE_HEADER_BYTES: usize = 100;

/// From this page on, the number of a page could be taken for the kind of a page of a tree: those that are no
/// pages of a tree begin with the number of another page.
const PAGES_TOLD_APART: u64 = 0x0200_0000;

/// The pages of a database, in its file.
pub(super) struct Pages<'a> {
    file: &'a File,
    page_bytes: usize,
    count: u64,
}

impl<'a> Pages<'a> {
    /// Reads how many pages there are.
    pub(super) fn open(mut file: &'a File) -> io::Result<Self> {
        let mut size = [0; 2];
        file.seek(SeekFrom::Start(PAGE_SIZE_AT))?;
        file.read_exact(&mut size)?;
        let page_bytes = match u16::from_be_bytes(size) {
            1 => 65_536,
            size => usize::from(size),
        };
        if page_bytes < 512 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no database"));
        }
        Ok(Self { file, page_bytes, count: file.metadata()?.len() / page_bytes as u64 })
    }

    /// How many pages there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Which of these pages, counted from 0, have something left in their unused parts.
    pub(super) fn soiled(&self, pages: Range<u64>) -> io::Result<Vec<u64>> {
        let mut soiled = Vec::new();
        let mut page = vec![0; self.page_bytes];
        for number in pages.start..pages.end.min(self.count) {
            self.read(number, &mut page)?;
            let unused = unused_of(number, &page);
            if unused.into_iter().any(|(from, to)| page[from..to].iter().any(|byte| *byte != 0)) {
                soiled.push(number);
            }
        }
        Ok(soiled)
    }

    /// Wipes the unused parts of these pages. Nobody may write into the database meanwhile, and nothing of it
    /// may stand in the log alone.
    pub(super) fn wipe(&self, pages: &[u64]) -> io::Result<()> {
        let mut page = vec![0; self.page_bytes];
        for number in pages.iter().copied().filter(|number| *number < self.count) {
            self.read(number, &mut page)?;
            for (from, to) in unused_of(number, &page) {
                let mut file = self.file;
                file.seek(SeekFrom::Start(number * self.page_bytes as u64 + from as u64))?;
                file.write_all(&vec![0; to - from])?;
            }
        }
        self.file.sync_data()
    }

    fn read(&self, number: u64, page: &mut [u8]) -> io::Result<()> {
        let mut file = self.file;
        file.seek(SeekFrom::Start(number * self.page_bytes as u64))?;
        file.read_exact(page)
    }
}

/// A part of a page: where it begins, and where it has ended.
type Part = (usize, usize);

/// The parts of a page of a tree that hold nothing; none of another page, or of one that is not as we know them.
fn unused_of(number: u64, page: &[u8]) -> Vec<Part> {
    try_unused_of(number, page).unwrap_or_default()
}

fn try_unused_of(number: u64, page: &[u8]) -> Option<Vec<Part>> {
    if number >= PAGES_TOLD_APART {
        return None;
    }
    let header = if number == 0 { FILE_HEADER_BYTES } else { 0 };
    let two = |at: usize| {
        let bytes = page.get(at..at + 2)?;
        Some(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
    };
    let header_bytes = match page.get(header)? {
        // The leaves of an index and of a table.
        10 | 13 => 8,
        // What is above them.
        2 | 5 => 12,
        _ => return None,
    };
    let cells_from = match two(header + 5)? {
        0 => 65_536,
        at => at,
    };
    let list_to = header + header_bytes + two(header + 3)? * 2;
    if list_to > cells_from || cells_from > page.len() {
        return None;
    }
    let mut unused = vec![(list_to, cells_from)];
    // Free blocks among the cells: each begins with the place of the next, which is behind it, and its size.
    let mut block = two(header + 1)?;
    while block != 0 {
        let (next, size) = (two(block)?, two(block + 2)?);
        let is_as_known = block >= cells_from && size >= 4 && block + size <= page.len();
        if !is_as_known || (next != 0 && next <= block) {
            return None;
        }
        unused.push((block + 4, block + size));
        block = next;
    }
    Some(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: &[(usize, &[u8])]) -> Vec<u8> {
        let mut page = vec![0xee; 512];
        for (at, bytes) in bytes {
            page[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        page
    }

    #[test]
    fn what_is_unused_lies_between_the_list_and_the_cells_and_in_free_blocks() {
        let check = |number, bytes: &[(usize, &[u8])], expected: &[Part]| {
            assert_eq!(unused_of(number, &page(bytes)), expected, "{number} {bytes:?}");
        };
        // A leaf with two cells from 400 on.
        check(7, &[(0, &[13, 0, 0, 0, 2, 1, 144, 0])], &[(12, 400)]);
        check(7, &[(0, &[10, 0, 0, 0, 2, 1, 144, 0])], &[(12, 400)]);
        // What is above leaves names its right neighbour.
        check(7, &[(0, &[5, 0, 0, 0, 2, 1, 144, 0])], &[(16, 400)]);
        check(0, &[(100, &[13, 0, 0, 0, 2, 1, 144, 0])], &[(112, 400)]);
        // Two free blocks.
        let blocks: &[(usize, &[u8])] =
            &[(0, &[13, 1, 164, 0, 2, 1, 144, 0]), (420, &[1, 194, 0, 10]), (450, &[0, 0, 0, 4])];
        check(7, blocks, &[(12, 400), (424, 430), (454, 454)]);
        // An empty leaf.
        check(7, &[(0, &[13, 0, 0, 0, 0, 2, 0, 0])], &[(8, 512)]);
    }

    #[test]
    fn what_is_not_as_we_know_it_is_left_alone() {
        let check = |number, bytes: &[(usize, &[u8])]| {
            assert!(unused_of(number, &page(bytes)).is_empty(), "{number} {bytes:?}");
        };
        // A page that goes on in page 3.
        check(7, &[(0, &[0, 0, 0, 3, 13])]);
        // Cells that would begin within the list, or behind the page.
        check(7, &[(0, &[13, 0, 0, 1, 0, 0, 20, 0])]);
        check(7, &[(0, &[13, 0, 0, 0, 1, 2, 1, 0])]);
        // Free blocks that go round, lie before the cells, or go over the end.
        check(7, &[(0, &[13, 1, 164, 0, 2, 1, 144, 0]), (420, &[1, 164, 0, 10])]);
        check(7, &[(0, &[13, 0, 50, 0, 2, 1, 144, 0]), (50, &[0, 0, 0, 10])]);
        check(7, &[(0, &[13, 1, 164, 0, 2, 1, 144, 0]), (420, &[0, 0, 1, 0])]);
        check(PAGES_TOLD_APART, &[(0, &[13, 0, 0, 0, 2, 1, 144, 0])]);
    }
}
