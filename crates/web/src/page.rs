//! Bodies of one type, whatever is in them.
//!
//! picoserve writes each type of body by code of its own, some kilobytes for each. What returns a [`Page`]
//! shares it.

use alloc::{borrow::Cow, string::String};

use picoserve::{io::Write, response::Content};

/// A body and its type.
#[derive(Debug, Clone)]
pub struct Page {
    kind: &'static str,
    bytes: Cow<'static, [u8]>,
}

/// A page of hypertext.
pub fn html(text: impl Into<Cow<'static, str>>) -> Page {
    Page { kind: "text/html; charset=utf-8", bytes: bytes_of(text.into()) }
}

/// Text without markup.
pub fn text(text: impl Into<Cow<'static, str>>) -> Page {
    Page { kind: "text/plain; charset=utf-8", bytes: bytes_of(text.into()) }
}

/// Bytes of any type, such as `image/png`.
pub fn bytes(kind: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Page {
    Page { kind, bytes: bytes.into() }
}

/// A value in JSON.
///
/// # Panics
///
/// If the value refuses to be written, or is a map whose keys are not strings.
#[cfg(feature = "json")]
pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Page {
    use alloc::{vec, vec::Vec};

    use serde_json_core::ser::Error;

    let mut bytes: Vec<u8> = vec![0; 256];
    loop {
        match serde_json_core::to_slice(value, &mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return Page { kind: "application/json", bytes: bytes.into() };
            }
            Err(Error::BufferFull) => bytes.resize(bytes.len() * 4, 0),
            Err(error) => panic!("no JSON: {error}"),
        }
    }
}

fn bytes_of(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => String::into_bytes(text).into(),
    }
}

impl Content for Page {
    fn content_type(&self) -> &'static str {
        self.kind
    }

    fn content_length(&self) -> usize {
        self.bytes.len()
    }

    async fn write_content<W: Write>(self, mut writer: W) -> Result<(), W::Error> {
        writer.write_all(&self.bytes).await
    }
}
