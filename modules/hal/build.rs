//! Puts Wakeful's linker script into the final link of whatever depends on this crate.
//!
//! A linker takes a text file among its inputs for a linker script. So the script travels as a
//! "library" of this crate, and an application needs no build script, no rustflags and no
//! `memory.x` of its own.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    // On a host (documentation, tests of crates that depend on this one) there is nothing to place.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::copy("link.ld", out.join("wakeful.ld")).expect("copying link.ld into OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-lib=dylib:+verbatim=wakeful.ld");
}
