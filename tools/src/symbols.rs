//! Names for addresses: the function, file and line that an address of an ELF file belongs to.

use std::path::Path;

use addr2line::Loader;
use anyhow::{Context, Result, anyhow};

use crate::image::{Elf, Function};
use crate::workspace;

/// The debug information of one ELF file.
pub(crate) struct Symbols {
    loader: Loader,
    functions: Vec<Function>,
    pieces: Vec<Piece>,
}

/// Where a piece of the image is linked and where it is loaded.
struct Piece {
    physical: u64,
    linked: u64,
    size: u64,
    contents: Vec<u8>,
}

/// One function at an address. Inlining puts several at the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) function: String,
    /// `file:line`, if the file has line tables.
    pub(crate) location: Option<String>,
}

impl Symbols {
    /// Reads the ELF file.
    pub(crate) fn open(elf: &Path) -> Result<Self> {
        let loader = Loader::new(elf)
            .map_err(|error| anyhow!("cannot read symbols of {}: {error}", elf.display()))?;
        let bytes = std::fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
        let elf = Elf::parse(&bytes, elf)?;
        let pieces = elf.segments().map(|segment| Piece {
            physical: segment.physical,
            linked: segment.virtual_address,
            size: segment.memory_size,
            contents: segment.contents.to_vec(),
        });
        Ok(Self { loader, functions: elf.functions(), pieces: pieces.collect() })
    }

    /// The functions at `address`, innermost first; empty if it is not in the image.
    ///
    /// Code that runs before paging is on reports physical addresses: they are found as well.
    pub(crate) fn frames(&self, address: u64) -> Vec<Frame> {
        let address = self.linked(address);
        let mut found = Vec::new();
        if let Ok(mut frames) = self.loader.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let Some(function) = &frame.function else { continue };
                let Ok(name) = function.demangle() else { continue };
                let location = frame.location.as_ref().and_then(|location| {
                    Some(format!("{}:{}", shorten(location.file?), location.line?))
                });
                found.push(Frame { function: without_hash(&name).to_owned(), location });
            }
        }
        // Line tables alone know functions by their last name; the symbol table has the path of the
        // outermost one.
        if let Some(symbol) = self.function(address) {
            let name = addr2line::demangle_auto(symbol.into(), None);
            let location = found.pop().and_then(|outermost| outermost.location);
            found.push(Frame { function: without_hash(&name).to_owned(), location });
        }
        found
    }

    /// Bytes of the instruction at `address`; none if it is not in the image.
    pub(crate) fn instruction_length(&self, address: u64) -> Option<u64> {
        let address = self.linked(address);
        let piece = self
            .pieces
            .iter()
            .find(|piece| piece.linked <= address && address < piece.linked + piece.size)?;
        let offset = usize::try_from(address - piece.linked).ok()?;
        // Only the two lowest bits of compressed ones are not both set (Unprivileged ISA, 1.5).
        Some(if piece.contents.get(offset)? & 3 == 3 { 4 } else { 2 })
    }

    /// The function at a linked address, or the label in assembly before it.
    fn function(&self, address: u64) -> Option<&str> {
        self.pieces
            .iter()
            .find(|piece| (piece.linked..piece.linked + piece.size).contains(&address))?;
        let before = self.functions.partition_point(|function| function.range.start <= address);
        let nearest_first = self.functions[..before].iter().rev();
        let mut holds = nearest_first
            .filter(|function| function.range.is_empty() || function.range.contains(&address));
        Some(&holds.next()?.name)
    }

    fn linked(&self, address: u64) -> u64 {
        let holds =
            |piece: &&Piece| (piece.physical..piece.physical + piece.size).contains(&address);
        self.pieces
            .iter()
            .find(holds)
            .map_or(address, |piece| piece.linked + (address - piece.physical))
    }
}

/// Drops the hash that rustc's older mangling leaves at the end of a name.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            path
        }
        _ => name,
    }
}

/// Drops the part of a path that says where this computer keeps the crate.
fn shorten(file: &str) -> &str {
    if let Ok(rest) = Path::new(file).strip_prefix(workspace::root()) {
        return rest.to_str().unwrap_or(file);
    }
    if let Some((_, rest)) = file.split_once("/registry/src/") {
        return rest.split_once('/').map_or(rest, |(_index, rest)| rest);
    }
    if let Some((_, rest)) = file.rsplit_once("/library/") {
        return rest;
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_hash_only() {
        assert_eq!(without_hash("hello::main::h0123456789abcdef"), "hello::main");
        assert_eq!(without_hash("hello::hash"), "hello::hash");
        assert_eq!(without_hash("main"), "main");
    }

    #[test]
    fn paths_start_at_the_crate() {
        assert_eq!(shorten("/rustc/abc/library/core/src/fmt/mod.rs"), "core/src/fmt/mod.rs");
        assert_eq!(
            shorten("/home/me/.cargo/registry/src/index-0/log-0.4.1/src/lib.rs"),
            "log-0.4.1/src/lib.rs"
        );
        assert_eq!(shorten("src/main.rs"), "src/main.rs");
    }
}
