//! What a value is called.

use core::fmt;

use arrayvec::ArrayVec;
use sequential_storage::map::{Key as StoredKey, SerializationError};

use crate::Error;

/// How long a key may be, in bytes.
pub const MAX_KEY: usize = 64;

/// What a value is called: 1 to [`MAX_KEY`] bytes, mostly text.
///
/// On the device it is its length in a byte, and its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(ArrayVec<u8, MAX_KEY>);

impl Key {
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Error> {
        match ArrayVec::try_from(bytes) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes)),
            _ => Err(Error::InvalidKey),
        }
    }

    /// What stands where a key should be and is none: the same for all such things, so that the store can move them
    /// about. Nobody can ask for it.
    pub(crate) fn foreign() -> Self {
        Self(ArrayVec::new())
    }

    pub(crate) fn is_foreign(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text, if it is text in UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        core::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl StoredKey for Key {
    fn serialize_into(&self, buffer: &mut [u8]) -> Result<usize, SerializationError> {
        let (len, rest) = buffer.split_first_mut().ok_or(SerializationError::BufferTooSmall)?;
        *len = self.0.len() as u8;
        rest.get_mut(..self.0.len())
            .ok_or(SerializationError::BufferTooSmall)?
            .copy_from_slice(&self.0);
        Ok(1 + self.0.len())
    }

    /// Never fails: an error would make every operation fail that comes across such an item.
    fn deserialize_from(buffer: &[u8]) -> Result<(Self, usize), SerializationError> {
        let key = buffer.split_first().and_then(|(len, rest)| rest.get(..usize::from(*len)));
        Ok(match key.map(Self::new) {
            Some(Ok(key)) => {
                let len = 1 + key.0.len();
                (key, len)
            }
            Some(Err(_)) | None => (Self::foreign(), 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_a_key() {
        let mut buffer = [0; 100];
        let key = Key::new(b"wifi").unwrap();
        assert_eq!(key.serialize_into(&mut buffer), Ok(5));
        assert_eq!(Key::deserialize_from(&buffer), Ok((key, 5)));
        let long = [b'x'; 100];
        let foreign: [&[u8]; 5] = [b"", b"\0", b"\x01", &[65; 66], &[255; 100]];
        for bytes in foreign {
            let (key, len) = Key::deserialize_from(bytes).unwrap();
            assert!(key.is_foreign() && len == 0, "{bytes:?}");
        }
        assert_eq!(Key::new(&long[..64]).map(|key| key.as_bytes().len()), Ok(64));
        assert_eq!(Key::new(&long[..65]), Err(Error::InvalidKey));
        assert_eq!(Key::new(b""), Err(Error::InvalidKey));
        assert_eq!(Key::new(b"a\xff").unwrap().as_str(), None);
        assert_eq!(format!("{:?}", Key::new(b"a\xff").unwrap()), "\"a\\xff\"");
    }
}
