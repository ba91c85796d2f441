//! Files and settings under load, on a machine that may lose its power at any moment; and what is checked of file
//! systems on the machine itself.
//!
//! The boot arguments choose: `-- case=load seed=N` works until it is switched off ([`load`]), `case=model seed=N
//! steps=N` compares a volume with a model of it ([`model`]), `case=tree` prints what is on a volume ([`tree`]),
//! `case=full` fills one ([`full`]).

#![no_std]
#![no_main]

extern crate alloc;

mod full;
mod load;
mod model;
mod random;
mod tree;

use alloc::{boxed::Box, format, string::String};

#[wakeful::main]
async fn main() -> Result<(), String> {
    let number = |key| word(key).and_then(|value| value.parse().ok());
    let seed = number("seed").unwrap_or(1);
    match word("case") {
        // Boxes, as the futures of files are large.
        Some("load") => Box::pin(load::run(seed)).await,
        Some("model") => Box::pin(model::run(seed, number("steps").unwrap_or(1000))).await,
        Some("full") => Box::pin(full::run()).await,
        Some("tree") => Box::pin(tree::run()).await,
        other => Err(format!("there is no case {other:?}")),
    }
}

/// The boot argument `key=value`.
fn word(key: &str) -> Option<&'static str> {
    wakeful::arguments().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}
