//! Types of files, by the end of their name.

/// What a browser shows, plays or runs. The names are those of the IANA's registry of media types; text is UTF-8, as
/// nothing on a volume says otherwise.
const TYPES: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/vnd.microsoft.icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("log", "text/plain; charset=utf-8"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ogg", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml; charset=utf-8"),
    ("zip", "application/zip"),
];

/// The type of the file at a path. What is not known is just bytes (RFC 2046 §4.5.1).
pub(super) fn kind(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((_, extension)) = name.rsplit_once('.') else { return UNKNOWN };
    let known = TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map_or(UNKNOWN, |(_, kind)| kind)
}

const UNKNOWN: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (path, expected) in [
            ("/index.html", "text/html; charset=utf-8"),
            ("/A/INDEX.HTM", "text/html; charset=utf-8"),
            ("/a.tar.gz", "application/gzip"),
            ("/a.Svg", "image/svg+xml"),
            ("/html", UNKNOWN),
            ("/a.html/b", UNKNOWN),
            ("/a.", UNKNOWN),
            ("/a.html.", UNKNOWN),
            ("/.html", "text/html; charset=utf-8"),
            ("/", UNKNOWN),
        ] {
            assert_eq!(kind(path), expected, "{path}");
        }
    }
}
