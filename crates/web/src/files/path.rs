//! The path of a request, and what it names on the volume.

use alloc::string::String;

/// What a request's path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// As the volume has it: begins with a slash, does not end with one unless it is the root, and has no `.` and
    /// no `..`.
    pub(super) path: String,
    /// The request's path ends with a slash: a directory is meant, and links of its page are relative to it.
    pub(super) is_directory: bool,
}

/// Why a path names nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadPath {
    /// No path of a volume can be meant.
    Malformed,
    OutOfMemory,
}

/// The longest name, in UTF-16 units: the longest of FAT (Microsoft's specification, 2000, section 7).
const LONGEST: usize = 255;

/// Decodes a path that is percent-encoded (RFC 3986 §2.1, §3.3).
///
/// Whatever is not plainly a path below the root is refused, and never tidied up: `.` and `..`, in any encoding,
/// empty names, slashes that are encoded, backslashes, control characters, what is not UTF-8, names that are too
/// long. Clients resolve dots before they ask (RFC 3986 §5.2.4), so who sends them is up to something.
pub(super) fn resolve(encoded: &str) -> Result<Place, BadPath> {
    let names = encoded.strip_prefix('/').ok_or(BadPath::Malformed)?;
    let (names, is_directory) = match names.strip_suffix('/') {
        _ if names.is_empty() => return root(),
        Some(names) => (names, true),
        None => (names, false),
    };
    // What is decoded is never longer.
    let mut path = memory(encoded.len())?;
    for name in names.split('/') {
        path.push('/');
        let begin = path.len();
        decode(name, &mut path)?;
        check(&path[begin..])?;
    }
    Ok(Place { path, is_directory })
}

fn root() -> Result<Place, BadPath> {
    let mut path = memory(1)?;
    path.push('/');
    Ok(Place { path, is_directory: true })
}

fn memory(len: usize) -> Result<String, BadPath> {
    let mut text = String::new();
    text.try_reserve_exact(len).map_err(|_| BadPath::OutOfMemory)?;
    Ok(text)
}

/// Adds a name, which has room.
fn decode(name: &str, to: &mut String) -> Result<(), BadPath> {
    let mut rest = name;
    while let Some(at) = rest.find('%') {
        to.push_str(&rest[..at]);
        rest = &rest[at..];
        // A character of several bytes is as many triples in a row.
        let mut bytes = [0; 4];
        let first = triple(rest)?;
        let len = match first {
            0..0x80 => 1,
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0..0xf8 => 4,
            _ => return Err(BadPath::Malformed),
        };
        for byte in &mut bytes[..len] {
            *byte = triple(rest)?;
            rest = &rest[3..];
        }
        to.push_str(str::from_utf8(&bytes[..len]).map_err(|_| BadPath::Malformed)?);
    }
    to.push_str(rest);
    Ok(())
}

/// The byte of the `%41` that a text begins with.
fn triple(text: &str) -> Result<u8, BadPath> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    match *text.as_bytes() {
        [b'%', high, low, ..] => match (digit(high), digit(low)) {
            // Each has four bits.
            (Some(high), Some(low)) => Ok((high << 4 | low) as u8),
            _ => Err(BadPath::Malformed),
        },
        _ => Err(BadPath::Malformed),
    }
}

fn check(name: &str) -> Result<(), BadPath> {
    let is_bad = |c: char| c.is_control() || c == '/' || c == '\\';
    if matches!(name, "" | "." | "..")
        || name.contains(is_bad)
        || name.encode_utf16().count() > LONGEST
    {
        return Err(BadPath::Malformed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use super::*;
    use crate::{files::links::Encoded, ration, testing::Random};

    #[test]
    fn paths() {
        for (encoded, path, is_directory) in [
            ("/", "/", true),
            ("/a", "/a", false),
            ("/a/", "/a", true),
            ("/a/b.html", "/a/b.html", false),
            ("/a%20b", "/a b", false),
            ("/a+b", "/a+b", false),
            ("/%61%2E%7e", "/a.~", false),
            ("/%C3%A4/%e6%bc%a2/%F0%9F%98%80", "/ä/漢/😀", false),
            ("/ä", "/ä", false),
            ("/...", "/...", false),
            ("/.hidden", "/.hidden", false),
            ("/100%25", "/100%", false),
            ("/%2525", "/%25", false),
        ] {
            let place = Place { path: path.to_string(), is_directory };
            assert_eq!(resolve(encoded), Ok(place), "{encoded}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = format!("/{}", "a".repeat(256));
        for encoded in [
            "",
            "a",
            "*",
            "http://a/b",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/a/.",
            "/a/../b",
            "/../",
            "/./",
            "/%2e%2e",
            "/%2E%2e/a",
            "/.%2e/a",
            "/%2e",
            "/a%2fb",
            "/%2f",
            "/..%2f..%2fa",
            "/a\\b",
            "/..\\a",
            "/%5c",
            "/..%5c..%5ca",
            "/%00",
            "/a%00.html",
            "/%0a",
            "/%0D",
            "/%7f",
            "/%c2%9b",
            "/\u{7f}",
            "/\u{9b}",
            "/%",
            "/%4",
            "/%g0",
            "/%+1",
            "/%ä",
            "/%0ä",
            "/%ff",
            "/%80",
            "/%c3",
            "/%c3a",
            "/%c3%28",
            "/%c0%ae%c0%ae",
            "/%e0%80%af",
            "/%ed%a0%80",
            "/%f8%88%80%80%80",
            &long,
        ] {
            assert_eq!(resolve(encoded), Err(BadPath::Malformed), "{encoded}");
        }
        assert!(resolve(&long[..256]).is_ok());
        assert!(resolve(&format!("/{}", "%C3%A4".repeat(255))).is_ok());
        assert_eq!(resolve(&format!("/{}", "😀".repeat(128))), Err(BadPath::Malformed));
    }

    #[test]
    fn without_memory() {
        ration::set(Some(0));
        let resolved = resolve("/a");
        ration::set(None);
        assert_eq!(resolved, Err(BadPath::OutOfMemory));
    }

    /// Whatever is resolved is below the root, and is found again by its own link.
    #[test]
    fn nothing_leads_outside() {
        const WORDS: [&str; 20] = [
            "/",
            "..",
            ".",
            "%2e",
            "%2E",
            "%2f",
            "%5c",
            "\\",
            "%",
            "%00",
            "a",
            "ä",
            "%c3",
            "%a4",
            "%25",
            " ",
            "%u002e",
            "😀",
            "%f0%9f%98%80",
            "0",
        ];
        let mut random = Random::new();
        let mut resolved = 0;
        for _ in 0..200_000 {
            let mut encoded = String::from("/");
            for _ in 0..random.below(8) {
                encoded.push_str(WORDS[random.below(WORDS.len())]);
            }
            let Ok(place) = resolve(&encoded) else { continue };
            resolved += 1;
            assert!(place.path.starts_with('/'), "{encoded:?}");
            let names = place.path[1..].split('/');
            assert!(
                place.path == "/"
                    || names.clone().all(|name| check(name).is_ok())
                        && !place.path.contains(['\\', '\0']),
                "{encoded:?}"
            );
            let mut again = String::new();
            for name in names {
                again.push_str(&format!("/{}", Encoded(name)));
            }
            if place.is_directory && place.path != "/" {
                again.push('/');
            }
            assert_eq!(resolve(&again), Ok(place), "{encoded:?}");
        }
        assert!(resolved > 10_000, "{resolved}");
    }
}
