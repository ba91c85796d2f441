//! Paths: names between slashes.
//!
//! Whether one begins or ends with a slash means nothing, and `.` and `..` are resolved in the text alone: `a/../b` is
//! `b`, whether there is an `a` or not, and `..` of the root is the root.

use crate::Error;

/// A path of an entry: of its directory, and its name there. `None` is the root.
///
/// The directory's path may still contain `.` and `..`.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let mut end = path.len();
    let mut ups = 0_usize;
    loop {
        let start = path[..end].rfind('/').map_or(0, |slash| slash + 1);
        match &path[start..end] {
            "" | "." => {}
            ".." => ups += 1,
            name if ups == 0 => return Some((&path[..start], name)),
            _ => ups -= 1,
        }
        end = start.checked_sub(1)?;
    }
}

/// Whether a new entry may have this name. Microsoft's FAT specification (2000), "FAT Long Directory Entries", has the characters
/// and the length.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let is_bad =
        |c: char| c.is_control() && c < '\u{80}' || "\"*/:<>?\\|".contains(c) || c == '\u{7f}';
    if name.is_empty() || name.contains(is_bad) || name.ends_with(['.', ' ']) {
        return Err(Error::InvalidName);
    }
    if name.encode_utf16().count() > 255 {
        return Err(Error::NameTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        for (path, parts) in [
            ("", None),
            ("/", None),
            (".", None),
            ("..", None),
            ("a/..", None),
            ("/../..//.", None),
            ("a", Some(("", "a"))),
            ("/a/", Some(("/", "a"))),
            ("a/b", Some(("a/", "b"))),
            ("a//b//.//", Some(("a//", "b"))),
            ("a/b/..", Some(("", "a"))),
            ("a/b/../..", None),
            ("a/../b", Some(("a/../", "b"))),
            ("x/a/b/../../c/..", Some(("", "x"))),
            ("ä/…", Some(("ä/", "…"))),
        ] {
            assert_eq!(split(path), parts, "{path}");
        }
    }

    #[test]
    fn names() {
        for name in ["a", "A long name.with.dots", "ü漢😀", "CON", "~", "a;b,c=d+e[f]", ".hidden"]
        {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in
            ["", "a:b", "a\\b", "a?", "a*", "a\"", "a<", "a>", "a|", "a\n", "a.", "a ", "..", "\0"]
        {
            assert_eq!(check_name(name), Err(Error::InvalidName), "{name}");
        }
        assert_eq!(check_name(&"ü".repeat(255)), Ok(()));
        assert_eq!(check_name(&"ü".repeat(256)), Err(Error::NameTooLong));
        assert_eq!(check_name(&"😀".repeat(128)), Err(Error::NameTooLong));
    }
}
