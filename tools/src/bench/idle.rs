//! A machine with nothing to do: how many instructions it executes.
//!
//! `benchsuite` awaits what never comes, with no timer set. Every instruction counts, the firmware's
//! too.

use anyhow::Result;

use super::rows::Build;
use super::table::Row;
use crate::counted::Counted;
use crate::qemu::Options;

/// Builds the image and watches it on one hart and on four.
pub(super) fn measure() -> Result<Vec<Row>> {
    let image = Build::PLAIN.image()?;
    let row = |name, harts| -> Result<Row> {
        let append = Some("-- case=idle".into());
        let options = Options { smp: Some(harts), append, ..Options::default() };
        let value = Counted::boot(&image, options, &[], None, says_idle)?.idle()?;
        Ok(Row { name, value, unit: "instr/s", gate: 1000.0, goal: 0.0 })
    };
    Ok(vec![row("idle, 1 hart", 1)?, row("idle, 4 harts", 4)?])
}

/// Whether the machine has printed the line that says so.
fn says_idle(console: &[u8]) -> bool {
    let ended = |line: &&[u8]| line.ends_with(b"\n");
    console
        .split_inclusive(|&byte| byte == b'\n')
        .filter(ended)
        .any(|line| line.trim_ascii() == b"idle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_a_whole_line() {
        assert!(says_idle(b"OpenSBI\r\nidle\r\n"));
        assert!(!says_idle(b"OpenSBI\r\nidle"));
        assert!(!says_idle(b"not idle\n"));
    }
}
