//! Puts Wakeful's linker script into the final link of whatever depends on this crate.
//!
//! A linker takes a text file among its inputs for a linker script. So the script travels as a
//! "library" of this crate, and an application needs no build script, no rustflags and no
//! `memory.x` of its own.

use std::{env, fs, path::PathBuf};

/// The line of `link.ld` that says how large a stack is, and what it is without optimisation. The sizes
/// stand again in `src/hart.rs`.
const STACK_SIZE: &str = "STACK_SIZE       = 64K;";
const UNOPTIMIZED_STACK_SIZE: &str = "STACK_SIZE       = 512K;";

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    // On a host (documentation, tests of crates that depend on this one) there is nothing to place.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut script = fs::read_to_string("link.ld").expect("reading link.ld");
    // Without optimisation a future is polled through frames ten times as large.
    if env::var("OPT_LEVEL").as_deref() == Ok("0") {
        println!("cargo::rustc-cfg=unoptimized");
        script = script.replace(STACK_SIZE, UNOPTIMIZED_STACK_SIZE);
    }
    fs::write(out.join("wakeful.ld"), script).expect("writing to OUT_DIR");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-lib=dylib:+verbatim=wakeful.ld");
}
