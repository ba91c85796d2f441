//! The `log` facade on the machine's console, with a level for each target.
//!
//! Owns the one logger. Needs, as values at [`init`], the levels ([`Levels`], from the boot argument
//! `log=`), where a line goes, and what time it is; so it knows no hardware and is tested on the host.
//!
//! A line looks like this: seconds since the machine's clock started, which is a little before boot,
//! level, target, message.
//!
//! ```text
//! [    1.204311] INFO  net::dhcp: address 10.0.2.15/24
//! ```

#![cfg_attr(not(test), no_std)]

mod levels;

use core::{fmt, time::Duration};

pub use levels::{Error, Levels};
use log::{LevelFilter, Log, Metadata, Record};
use spin::Once;

/// What a logger needs from the machine.
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    /// Prints. Called on any hart and in interrupts.
    pub print: fn(fmt::Arguments<'_>),
    /// Time since the machine's clock started.
    pub uptime: fn() -> Duration,
}

struct Logger {
    levels: Levels<'static>,
    sink: Sink,
}

static LOGGER: Once<Logger> = Once::new();

/// Starts logging. Only the first call counts.
pub fn init(levels: Levels<'static>, sink: Sink) {
    let most = levels.most();
    let logger = LOGGER.call_once(|| Logger { levels, sink });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(most);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.levels.of(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let uptime = (self.sink.uptime)();
        (self.sink.print)(format_args!(
            "[{:5}.{:06}] {:5} {}: {}\n",
            uptime.as_secs(),
            uptime.subsec_micros(),
            record.level(),
            record.target(),
            record.args(),
        ));
    }

    fn flush(&self) {}
}

/// The level when the boot arguments say nothing.
pub const DEFAULT_LEVEL: LevelFilter = LevelFilter::Info;
