//! Names in links and on pages.

use core::fmt::{self, Write};

/// A name as it stands in a link: all but letters, digits and `-._~` is percent-encoded (RFC 3986 §2.3), so that
/// it needs no further care in hypertext or in a header.
pub(super) struct Encoded<'a>(pub(super) &'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let mut rest = self.0;
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            // All before it is ASCII, and what is encoded is a whole character.
            let (plain, others) = rest.split_at(at);
            f.write_str(plain)?;
            let len = others.chars().next().map_or(0, char::len_utf8);
            let (odd, others) = others.split_at(len);
            odd.bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
            rest = others;
        }
        f.write_str(rest)
    }
}

/// A name as it stands in a page, between tags and in attributes. A disk may have any: control characters are
/// shown as `�`.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn links() {
        assert_eq!(Encoded("a-B_9.~z").to_string(), "a-B_9.~z");
        assert_eq!(Encoded("ä & <b>.html").to_string(), "%C3%A4%20%26%20%3Cb%3E.html");
        assert_eq!(
            Encoded("/:?#%\"'\r\n😀").to_string(),
            "%2F%3A%3F%23%25%22%27%0D%0A%F0%9F%98%80"
        );
    }

    #[test]
    fn pages() {
        let text = Escaped("<a href=\"'&amp;\u{1b}\u{9b}ä").to_string();
        assert_eq!(text, "&lt;a href=&quot;&#39;&amp;amp;\u{fffd}\u{fffd}ä");
    }
}
