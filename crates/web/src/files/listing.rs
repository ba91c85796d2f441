//! The page of a directory.

use alloc::{string::String, vec::Vec};
use core::{cmp::Ordering, fmt};

use picoserve::io::Write;
use wakeful_block::BlockDevice;
use wakeful_fat::{DirEntry, Error, Metadata, ReadDir};

use super::links::{Encoded, Escaped};

/// The most bytes of memory that the names and facts of a page take: some 3,000 entries with names of ordinary length. A
/// directory may have 65,536, and a client who asks for all of those must not take the memory of all others.
const MOST: usize = 256 << 10;

/// What is in a directory: directories first, each kind in the order of its names, whatever their case.
///
/// Written out it is a page. It is not kept as one: it is written twice, to know how long it is, and to [send](Self::send) it.
#[derive(Debug)]
pub(super) struct Listing {
    path: String,
    entries: Vec<DirEntry>,
    /// There are more.
    is_cut: bool,
}

impl Listing {
    /// Reads all entries, except those that are hidden, up to a quarter MiB of them.
    ///
    /// # Errors
    ///
    /// As [`ReadDir::next`].
    ///
    /// # Cancellation
    ///
    /// Nothing has happened.
    pub(super) async fn read<D: BlockDevice>(
        path: String,
        mut directory: ReadDir<D>,
    ) -> Result<Self, Error> {
        let (mut entries, mut room, mut is_cut) = (Vec::new(), MOST, false);
        while let Some(entry) = directory.next().await? {
            if entry.metadata.is_hidden {
                continue;
            }
            let Some(left) = room.checked_sub(entry.name.capacity() + size_of::<DirEntry>()) else {
                is_cut = true;
                break;
            };
            room = left;
            entries.try_reserve(1).map_err(|_| Error::OutOfMemory)?;
            entries.push(entry);
        }
        entries.sort_unstable_by(compare);
        Ok(Self { path, entries, is_cut })
    }

    /// Sends the page, row by row: what is sent in one piece is written anew for each buffer that it fills.
    ///
    /// # Cancellation
    ///
    /// The client gets a part of it.
    pub(super) async fn send<W: Write>(&self, writer: &mut W) -> Result<(), W::Error> {
        write!(writer, "{}", Head(self)).await?;
        for entry in &self.entries {
            write!(writer, "{}", Row(entry)).await?;
        }
        write!(writer, "{}", Foot(self)).await
    }
}

fn compare(one: &DirEntry, other: &DirEntry) -> Ordering {
    (other.metadata.is_dir.cmp(&one.metadata.is_dir))
        .then_with(|| letters(&one.name).cmp(letters(&other.name)))
        .then_with(|| one.name.cmp(&other.name))
}

/// The letters of a name, whatever their case.
fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_lowercase)
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Head(self).fmt(f)?;
        self.entries.iter().try_for_each(|entry| Row(entry).fmt(f))?;
        Foot(self).fmt(f)
    }
}

struct Head<'a>(&'a Listing);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listing { path, .. } = self.0;
        let end = if path == "/" { "" } else { "/" };
        let path = Escaped(path);
        write!(
            f,
            "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\">\
            <meta name=\"viewport\" content=\"width=device-width\">\
            <title>{path}{end}</title>\
            <style>body{{font-family:sans-serif}}td{{padding:.1em 1em .1em 0}}td+td{{text-align:right}}</style>\
            </head>\n<body><h1>{path}{end}</h1>\n<table>\n"
        )?;
        if !end.is_empty() {
            f.write_str("<tr><td><a href=\"../\">../</a></td></tr>\n")?;
        }
        Ok(())
    }
}

struct Foot<'a>(&'a Listing);

impl fmt::Display for Foot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("</table>\n")?;
        if self.0.is_cut {
            f.write_str("<p>There are more.</p>\n")?;
        }
        f.write_str("</body></html>\n")
    }
}

struct Row<'a>(&'a DirEntry);

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(test)]
        tests::WRITTEN.set(tests::WRITTEN.get() + 1);
        let DirEntry { name, metadata: Metadata { is_dir, len, modified, .. } } = self.0;
        let (link, text) = (Encoded(name), Escaped(name));
        let slash = if *is_dir { "/" } else { "" };
        // Relative to the page, whatever is in the name.
        write!(f, "<tr><td><a href=\"./{link}{slash}\">{text}{slash}</a></td><td>")?;
        if !is_dir {
            write!(f, "{}", Size(*len))?;
        }
        f.write_str("</td><td>")?;
        if let Some(date) = modified {
            write!(
                f,
                "{}-{:02}-{:02} {:02}:{:02}",
                date.year, date.month, date.day, date.hour, date.minute
            )?;
        }
        f.write_str("</td></tr>\n")
    }
}

/// Bytes, in the unit of which there are not too many; rounded up, so that 0 means nothing.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes @ ..10_240 => write!(f, "{bytes} B"),
            bytes @ ..10_485_760 => write!(f, "{} KiB", bytes.div_ceil(1 << 10)),
            bytes => write!(f, "{} MiB", bytes.div_ceil(1 << 20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::{cell::Cell, convert::Infallible, pin::pin, task::Context};
    use std::{borrow::ToOwned, format, string::ToString, task::Waker, thread_local};

    use picoserve::{
        io::{BaseWrite, ErrorType},
        mem::{BorrowedBuffer, BorrowedCursor},
    };
    use wakeful_fat::DateTime;

    use super::*;

    thread_local! {
        /// How often a row was written.
        pub(super) static WRITTEN: Cell<usize> = const { Cell::new(0) };
    }

    fn entry(name: &str, len: Option<u64>) -> DirEntry {
        let modified = DateTime { year: 2026, month: 11, day: 2, hour: 3, minute: 4, second: 5 };
        DirEntry {
            name: name.to_owned(),
            metadata: Metadata {
                is_dir: len.is_none(),
                len: len.unwrap_or(0),
                modified: Some(modified),
                is_read_only: false,
                is_hidden: false,
            },
        }
    }

    #[test]
    fn directories_come_first_and_case_does_not_matter() {
        let mut entries = [
            entry("b", Some(0)),
            entry("Ä", Some(0)),
            entry("Z", None),
            entry("C", Some(0)),
            entry("ä", Some(0)),
            entry("a", None),
            entry("A", Some(0)),
        ];
        entries.sort_unstable_by(compare);
        let names = entries.each_ref().map(|entry| entry.name.as_str());
        assert_eq!(names, ["a", "Z", "A", "b", "C", "Ä", "ä"]);
    }

    #[test]
    fn rows_are_escaped() {
        let row = Row(&entry("<ä> & \"b\"", Some(12_345))).to_string();
        assert_eq!(
            row,
            "<tr><td><a href=\"./%3C%C3%A4%3E%20%26%20%22b%22\">&lt;ä&gt; &amp; &quot;b&quot;</a></td>\
            <td>13 KiB</td><td>2026-11-02 03:04</td></tr>\n"
        );
        let row = Row(&entry("javascript:alert(1)", None)).to_string();
        assert!(row.contains("href=\"./javascript%3Aalert%281%29/\""), "{row}");
    }

    #[test]
    fn pages() {
        let page = |path: &str, is_cut| {
            Listing { path: path.to_owned(), entries: [entry("a", Some(1))].into(), is_cut }
                .to_string()
        };
        let root = page("/", false);
        assert!(
            root.contains("<h1>/</h1>") && !root.contains("../") && !root.contains("more"),
            "{root}"
        );
        let below = page("/a&b", true);
        assert!(
            below.contains("<h1>/a&amp;b/</h1>") && below.contains("<a href=\"../\">"),
            "{below}"
        );
        assert!(below.contains("There are more"), "{below}");
    }

    /// Takes few bytes at a time.
    struct Narrow(Vec<u8>);

    impl ErrorType for Narrow {
        type Error = Infallible;
    }

    impl BaseWrite for Narrow {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
            self.0.extend(bytes);
            Ok(bytes.len())
        }

        async fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    impl Write for Narrow {
        async fn write_with<F: FnOnce(BorrowedCursor<'_>) -> R, R>(
            &mut self,
            f: F,
        ) -> Result<R, Infallible> {
            let mut bytes = [0; 64];
            let mut buffer = BorrowedBuffer::new(&mut bytes);
            let result = f(buffer.unfilled());
            self.0.extend(buffer.filled());
            Ok(result)
        }
    }

    #[test]
    fn long_page_is_sent_in_linear_time() {
        const ENTRIES: usize = 1000;
        let entries = (0..ENTRIES).map(|number| entry(&format!("{number}"), Some(1))).collect();
        let listing = Listing { path: "/".to_owned(), entries, is_cut: false };
        let mut writer = Narrow(Vec::new());
        let sent = pin!(listing.send(&mut writer)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(sent.is_ready());
        // A row is longer than what the writer takes at a time, and shorter than twice that.
        assert!((2 * ENTRIES..=3 * ENTRIES).contains(&WRITTEN.get()), "{}", WRITTEN.get());
        assert_eq!(writer.0, listing.to_string().into_bytes());
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (10_239, "10239 B"),
            (10_240, "10 KiB"),
            (10_241, "11 KiB"),
            (10_485_760, "10 MiB"),
            (u64::MAX, "17592186044416 MiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
