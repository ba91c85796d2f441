//! Whatever the bytes are, there is an answer, and the free memory is where it may be.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wakeful_devicetree::{Machine, PAGE_SIZE};

fuzz_target!(|blob: &[u8]| {
    let machine = match Machine::parse(blob) {
        Ok(machine) => machine,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert!(!machine.memory.is_empty() && !machine.harts.is_empty() && machine.timebase_hz > 0);
    for list in [&machine.memory[..], &machine.reserved[..]] {
        assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start));
    }
    for hart in &machine.harts {
        assert!(hart.isa.to_string().starts_with("rv64"));
    }
    let image = machine.memory[0].start.saturating_add(0x20_0000)
        ..machine.memory[0].start.saturating_add(0x30_0000);
    for free in machine.free_memory(std::slice::from_ref(&image)) {
        assert!(free.start < free.end);
        assert!(free.start % PAGE_SIZE == 0 && free.end % PAGE_SIZE == 0);
        let inside = |ram: &std::ops::Range<u64>| ram.start <= free.start && free.end <= ram.end;
        assert!(machine.memory.iter().any(inside));
        let taken = machine.reserved.iter().chain(&machine.initrd).chain([&image]);
        for taken in taken.filter(|taken| !taken.is_empty()) {
            assert!(free.end <= taken.start || taken.end <= free.start);
        }
    }
});
