//! The extensions of a hart.

use core::fmt::{self, Display, Formatter, Write};

use crate::cells::strings;

/// A name of up to 12 letters as a number, five bits for each letter, the last one lowest. Case is
/// lost, and what follows the first digit; 0 is no name.
///
/// So versions (`zba1p0`) drop off. None of the names here has a digit, and none is what a real
/// name has before its first one (`zic64b`, `zve32x`).
type Packed = u64;

macro_rules! extensions {
    ($($(#[$doc:meta])* $extension:ident $name:literal)*) => {
        /// An extension that this crate knows by name.
        ///
        /// Ratified extensions that a kernel or its programs may want to know about; what is not
        /// here is ignored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Extension { $($(#[$doc])* $extension),* }

        /// The names in the order of their numbers: single letters first, in canonical order.
        const NAMES: &[Packed] = &[$(packed($name.as_bytes())),*];
    };
}

extensions! {
    /// Base integer instructions.
    I "i"
    /// Multiplication and division.
    M "m"
    /// Atomic instructions.
    A "a"
    /// Single-precision floating point.
    F "f"
    /// Double-precision floating point.
    D "d"
    /// Compressed instructions.
    C "c"
    /// Vectors.
    V "v"
    /// Hypervisor.
    H "h"
    /// Address generation.
    Zba "zba"
    /// Basic bit manipulation.
    Zbb "zbb"
    /// Carry-less multiplication.
    Zbc "zbc"
    /// Single bits.
    Zbs "zbs"
    /// Compare-and-swap.
    Zacas "zacas"
    /// Waiting on a reservation set.
    Zawrs "zawrs"
    /// Cache-block management.
    Zicbom "zicbom"
    /// Cache-block prefetch.
    Zicbop "zicbop"
    /// Cache-block zero.
    Zicboz "zicboz"
    /// Counters `cycle`, `time`, `instret`.
    Zicntr "zicntr"
    /// Conditional operations.
    Zicond "zicond"
    /// Control and status registers.
    Zicsr "zicsr"
    /// `fence.i`.
    Zifencei "zifencei"
    /// Pause hint.
    Zihintpause "zihintpause"
    /// Hardware performance counters.
    Zihpm "zihpm"
    /// Entropy source.
    Zkr "zkr"
    /// Interrupt architecture, machine level.
    Smaia "smaia"
    /// State enable, machine level.
    Smstateen "smstateen"
    /// Interrupt architecture, supervisor level.
    Ssaia "ssaia"
    /// Count overflow and mode filtering.
    Sscofpmf "sscofpmf"
    /// Supervisor timer compare.
    Sstc "sstc"
    /// Hardware updates accessed and dirty bits, if told to.
    Svadu "svadu"
    /// Software updates accessed and dirty bits.
    Svade "svade"
    /// Fine-grained invalidation of translations.
    Svinval "svinval"
    /// Naturally aligned ranges of pages.
    Svnapot "svnapot"
    /// Page-based memory types.
    Svpbmt "svpbmt"
}

/// How many of [`NAMES`] are single letters.
const LETTERS: usize = Extension::H as usize + 1;

const fn packed(mut name: &[u8]) -> Packed {
    let mut packed = 0;
    while let [letter, rest @ ..] = name {
        if letter.is_ascii_digit() {
            break;
        }
        if !letter.is_ascii_alphabetic() || packed >> 55 != 0 {
            return 0;
        }
        packed = packed << 5 | (*letter & 31) as u64;
        name = rest;
    }
    packed
}

/// A set of [`Extension`]s. Prints as `rv64imafdc zba zbb sstc`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Isa {
    extensions: u64,
}

const _: () = assert!(NAMES.len() <= u64::BITS as usize);

/// What `g` stands for.
const G: Isa = Isa::EMPTY
    .with(Extension::I)
    .with(Extension::M)
    .with(Extension::A)
    .with(Extension::F)
    .with(Extension::D)
    .with(Extension::Zicsr)
    .with(Extension::Zifencei);

impl Isa {
    /// The set with nothing in it.
    pub const EMPTY: Self = Self { extensions: 0 };

    /// Whether the hart has the extension.
    #[must_use]
    pub const fn contains(self, extension: Extension) -> bool {
        self.extensions & 1 << extension as u8 != 0
    }

    /// The set with one more in it.
    #[must_use]
    pub const fn with(self, extension: Extension) -> Self {
        Self { extensions: self.extensions | 1 << extension as u8 }
    }

    /// From the list of `riscv,isa-extensions` of the RISC-V extensions binding: one string per
    /// extension, single letters too.
    pub(crate) fn from_list(list: &[u8]) -> Self {
        let mut isa = Self::EMPTY;
        for name in strings(list) {
            isa.insert(name);
        }
        isa
    }

    /// From the string of `riscv,isa`: `rv64`, letters, then longer names after underscores. Any
    /// of them may have a version (`i2p1`) and be in upper case (ISA manual, "ISA Extension
    /// Naming Conventions").
    pub(crate) fn from_string(string: &[u8]) -> Self {
        let mut isa = Self::EMPTY;
        let Some((base, mut rest)) = string.split_at_checked(4) else {
            return isa;
        };
        if !base.eq_ignore_ascii_case(b"rv64") {
            return isa;
        }
        while let Some((letter, tail)) = rest.split_first() {
            let mut end = 1;
            match letter.to_ascii_lowercase() {
                // Old QEMU lists the modes S and U as if they were extensions.
                b's' if matches!(tail, [b'u' | b'U', b'_', ..] | [b'u' | b'U']) => end = 2,
                b'z' | b's' | b'x' => {
                    let name = rest.iter().position(|&byte| byte == b'_');
                    end = name.unwrap_or(rest.len());
                    isa.insert(&rest[..end]);
                }
                b'g' => isa.extensions |= G.extensions,
                // Underscores and the `2p1` of a version go this way too: they are no names.
                _ => isa.insert(&rest[..1]),
            }
            rest = &rest[end..];
        }
        isa
    }

    /// Adds the extension of a name, if it is a known one, with or without version.
    #[inline(never)]
    fn insert(&mut self, name: &[u8]) {
        let wanted = packed(name);
        let (mut number, end) = match name.len() {
            1 => (0, LETTERS),
            _ => (LETTERS, NAMES.len()),
        };
        while number < end {
            if NAMES[number] == wanted {
                self.extensions |= 1 << number;
                return;
            }
            number += 1;
        }
    }
}

impl Display for Isa {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("rv64")?;
        for (number, name) in NAMES.iter().enumerate() {
            if self.extensions >> number & 1 == 0 {
                continue;
            }
            if number >= LETTERS {
                f.write_char(' ')?;
            }
            for letter in (0..12).rev() {
                let letter = (name >> (5 * letter) & 31) as u8;
                if letter != 0 {
                    f.write_char((b'a' - 1 + letter).into())?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    fn string(string: &str) -> std::string::String {
        Isa::from_string(string.as_bytes()).to_string()
    }

    #[test]
    fn strings_of_all_ages() {
        assert_eq!(string("rv64imafdc"), "rv64imafdc");
        assert_eq!(string("RV64IMAFDC_Zba"), "rv64imafdc zba");
        assert_eq!(string("rv64gc"), "rv64imafdc zicsr zifencei");
        assert_eq!(string("rv64gcv_sstc"), "rv64imafdcv zicsr zifencei sstc");
        assert_eq!(
            string("rv64i2p1m2p0a2p1f2p2d2p2c2p0_zicsr2p0_zba1p0_sstc"),
            "rv64imafdc zba zicsr sstc"
        );
        assert_eq!(string("rv64i2_m2_a2"), "rv64ima");
        // The modes of old QEMU, and a name without underscore.
        assert_eq!(string("rv64imafdcsu"), "rv64imafdc");
        assert_eq!(string("rv64imafdcsu_zba"), "rv64imafdc zba");
        assert_eq!(string("rv64imacsstc_zba"), "rv64imac zba sstc");
        assert_eq!(string("rv64imaczba"), "rv64imac zba");
        // Names that are not known, also if a part of them is.
        assert_eq!(
            string("rv64i_zic64b_zve32f_xtheadba_zbax_zb_sv39_zihintpausehintpause_zbkb"),
            "rv64i"
        );
        for nothing in ["", "rv6", "rv64", "rv32imac", "64imac", "rv64___", "rv64\u{e9}"] {
            assert_eq!(string(nothing), "rv64");
        }
    }

    #[test]
    fn lists() {
        let isa = Isa::from_list(b"i\0m\0A\0zihintpause\0\0nonsense\0svpbmt");
        assert_eq!(isa.to_string(), "rv64ima zihintpause svpbmt");
        assert!(isa.contains(Extension::Svpbmt) && !isa.contains(Extension::C));
        assert_eq!(Isa::from_list(b""), Isa::EMPTY);
    }

    #[test]
    fn every_name_is_its_own() {
        for (number, name) in NAMES.iter().enumerate() {
            assert_ne!(*name, 0);
            assert!(!NAMES[..number].contains(name));
        }
    }
}
