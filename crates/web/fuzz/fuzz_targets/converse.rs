//! Whatever a client says, and in which pieces, what it hears is HTTP.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/wire/mod.rs"]
mod wire;

fuzz_target!(|said: &[u8]| {
    for manner in wire::MANNERS {
        wire::converse(said, manner);
    }
    wire::converse_without_memory(said);
});
