//! Images: what an ELF file puts into memory, as numbers and as a flat file for boot loaders.
//!
//! A flat image is what lies in memory after loading, from the lowest physical address on, without
//! the zeroed memory at its end. It starts with the header of a Linux RISC-V image (Linux,
//! `Documentation/arch/riscv/boot-image-header.rst`), from which U-Boot's `booti` learns how much
//! memory the image takes.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf::{EM_RISCV, ET_EXEC, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

/// Offset and value of the magic number that U-Boot checks (`magic2` of the header).
const MAGIC: (usize, &[u8; 4]) = (0x38, b"RSC\x05");

/// An ELF file for 64-bit RISC-V.
pub(crate) struct Elf<'a>(ElfFile64<'a>);

/// A piece of the image: one program header of type `PT_LOAD`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    /// Where it is loaded.
    pub(crate) physical: u64,
    /// Where it is linked to run.
    pub(crate) virtual_address: u64,
    /// What the file holds of it.
    pub(crate) contents: &'a [u8],
    /// Its size in memory; what is beyond the contents is zero.
    pub(crate) memory_size: u64,
}

/// A symbol of the kind that code has.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// As the linker knows it.
    pub(crate) name: String,
    /// Where it is linked; empty for a label in assembly, whose size nobody knows.
    pub(crate) range: Range<u64>,
}

impl<'a> Elf<'a> {
    /// Accepts only 64-bit RISC-V with at least one byte to load. `path` is for the error message.
    pub(crate) fn parse(bytes: &'a [u8], path: &Path) -> Result<Self> {
        let file = ElfFile64::parse(bytes)
            .with_context(|| format!("{} is not a 64-bit ELF file", path.display()))?;
        if file.elf_header().e_machine(file.endian()) != EM_RISCV {
            bail!(
                "{} is not for RISC-V: build it with `--target {}`",
                path.display(),
                crate::workspace::TARGET
            );
        }
        let elf = Self(file);
        if elf.segments().all(|segment| segment.contents.is_empty()) {
            bail!(
                "{} has nothing to load: was it linked by Wakeful's linker script?",
                path.display()
            );
        }
        Ok(elf)
    }

    /// Everything that is loaded, in the order of the file.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        let (endian, data) = (self.0.endian(), self.0.data());
        let headers = self
            .0
            .elf_program_headers()
            .iter()
            .filter(move |header| header.p_type(endian) == PT_LOAD);
        headers.map(move |header| Segment {
            physical: header.p_paddr(endian),
            virtual_address: header.p_vaddr(endian),
            contents: header.data(endian, data).unwrap_or_default(),
            memory_size: header.p_memsz(endian),
        })
    }

    /// The lowest address that something is loaded to: where a boot loader jumps.
    pub(crate) fn load_address(&self) -> u64 {
        self.segments().map(|segment| segment.physical).min().unwrap_or_default()
    }

    /// Functions and labels in assembly, by address. Labels that the compiler makes are left out.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let named = self.0.symbols().filter_map(|symbol| {
            let name = symbol
                .name()
                .ok()
                .filter(|name| !name.is_empty() && !name.starts_with(['.', '$']))?;
            let is_function =
                matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown);
            let range = symbol.address()..symbol.address() + symbol.size();
            (is_function && symbol.section_index().is_some())
                .then(|| Function { name: name.into(), range })
        });
        let mut functions: Vec<_> = named.collect();
        functions.sort_by_key(|function| function.range.start);
        functions
    }

    /// The address of a symbol.
    pub(crate) fn symbol(&self, name: &str) -> Option<u64> {
        self.0.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address())
    }

    /// Bytes that are read from the file when the image is loaded.
    pub(crate) fn loadable_bytes(&self) -> usize {
        self.segments().map(|segment| segment.contents.len()).sum()
    }

    /// Bytes of memory that the image takes before it allocates any.
    fn memory_bytes(&self) -> u64 {
        self.segments().map(|segment| segment.memory_size).sum()
    }

    /// The flat image.
    pub(crate) fn flat(&self) -> Result<Vec<u8>> {
        let start = self.load_address();
        let mut image = Vec::new();
        for Segment { physical, contents, .. } in
            self.segments().filter(|segment| !segment.contents.is_empty())
        {
            let offset = usize::try_from(physical - start)?;
            let end = offset + contents.len();
            if end > 1 << 30 {
                bail!(
                    "the segments lie more than 1 GiB apart ({start:#x} and {physical:#x}): one flat image cannot hold them"
                );
            }
            image.resize(image.len().max(end), 0);
            image[offset..end].copy_from_slice(contents);
        }
        let (offset, magic) = MAGIC;
        if image.get(offset..offset + magic.len()) != Some(magic) {
            bail!(
                "the image does not start with a Linux RISC-V image header (no \"RSC\\x05\" at {:#x}), so no boot loader \
                 will take it: was it linked by Wakeful's linker script?",
                start + offset as u64
            );
        }
        Ok(image)
    }

    /// The table of `cargo wakeful size`.
    pub(crate) fn size_table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, bytes: u64| {
            writeln!(table, "{name:<24}{bytes:>10}").expect("strings take all text")
        };
        for section in self.0.sections() {
            // Debug information lies at address 0: nothing loads it.
            if section.address() != 0 && section.size() > 0 {
                let zeroed =
                    if section.kind() == SectionKind::UninitializedData { " (zeroed)" } else { "" };
                row(&format!("{}{zeroed}", section.name().unwrap_or("?")), section.size());
            }
        }
        row("loadable bytes", self.loadable_bytes() as u64);
        row("bytes in memory", self.memory_bytes());
        if let Ok(flat) = self.flat() {
            row("flat image", flat.len() as u64);
        }
        table
    }
}

/// Makes a RISC-V ELF file that loads each of `segments` (physical address, contents, zeroed bytes
/// after them) and starts at the first one.
pub(crate) fn elf_file(segments: &[(u64, &[u8], u64)]) -> Vec<u8> {
    const ELF_HEADER: u16 = 64;
    const PROGRAM_HEADER: u16 = 56;
    let count = segments.len() as u16;
    let mut file = Vec::from(*b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    half(&mut file, ET_EXEC.0);
    half(&mut file, EM_RISCV.0);
    word(&mut file, 1); // version
    long(&mut file, segments[0].0); // entry
    long(&mut file, ELF_HEADER.into()); // where the program headers are
    long(&mut file, 0); // no section headers
    word(&mut file, 0); // flags
    for value in [ELF_HEADER, PROGRAM_HEADER, count, 0, 0, 0] {
        half(&mut file, value);
    }
    let mut offset = u64::from(ELF_HEADER + PROGRAM_HEADER * count);
    for &(address, contents, zeroed) in segments {
        let size = contents.len() as u64;
        word(&mut file, PT_LOAD.0);
        word(&mut file, 0b111); // read, write, execute
        for value in [offset, address, address, size, size + zeroed, 1] {
            long(&mut file, value);
        }
        offset += size;
    }
    segments.iter().for_each(|(_, contents, _)| file.extend(*contents));
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Vec<u8> {
        let mut header = vec![0xaa; 0x40];
        header[MAGIC.0..][..4].copy_from_slice(MAGIC.1);
        header
    }

    fn flat(file: &[u8]) -> Result<Vec<u8>> {
        Elf::parse(file, Path::new("x.elf"))?.flat()
    }

    #[test]
    fn flat_image_follows_physical_addresses_and_leaves_zeroed_memory_out() {
        let file = elf_file(&[
            (0x8020_0100, b"data", 4096),
            (0x8020_0000, &header(), 0),
            (0x8020_0200, b"", 8192),
        ]);
        let flat = flat(&file).unwrap();
        assert_eq!(flat.len(), 0x104);
        assert_eq!(flat[..0x40], header());
        assert!(flat[0x40..0x100].iter().all(|&byte| byte == 0));
        assert_eq!(&flat[0x100..], b"data");
    }

    #[test]
    fn image_without_header_is_refused() {
        let message = flat(&elf_file(&[(0x8020_0000, &[0; 0x80], 0)])).unwrap_err().to_string();
        assert!(message.contains("0x80200038"), "{message}");
        assert!(flat(&elf_file(&[(0x8020_0000, b"short", 0)])).is_err());
    }

    #[test]
    fn files_for_other_machines_are_refused() {
        let mut file = elf_file(&[(0x8020_0000, &header(), 0)]);
        file[18] = 62; // x86-64
        assert!(flat(&file).unwrap_err().to_string().contains("not for RISC-V"));
        assert!(flat(b"#!/bin/sh\n").unwrap_err().to_string().contains("not a 64-bit ELF"));
    }

    #[test]
    fn sizes_count_file_and_memory_apart() {
        let file = elf_file(&[(0x8020_0000, &header(), 0), (0x8020_0100, b"data", 4096)]);
        let elf = Elf::parse(&file, Path::new("x.elf")).unwrap();
        assert_eq!(elf.loadable_bytes(), 0x44);
        assert_eq!(elf.memory_bytes(), 0x44 + 4096);
        assert_eq!(elf.load_address(), 0x8020_0000);
        assert!(elf.size_table().contains("260"), "{}", elf.size_table());
    }
}
