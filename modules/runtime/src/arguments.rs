//! Boot arguments: `/chosen/bootargs`, which is QEMU's `-append` and U-Boot's `bootargs`.
//!
//! Words `key=value`, separated by spaces. What follows a word `--` is the application's.

use wakeful_hal::{console, machine, record};

/// The words that this image understands.
pub(crate) struct Arguments {
    /// Log levels: `log=warn,net=debug`.
    pub(crate) log: &'static str,
    /// Where addresses come from: `ip=`, `gw=`, `dns=`.
    #[cfg(feature = "net")]
    pub(crate) net: wakeful_net::Settings,
}

/// What an argument may be, for who has got it wrong.
const KNOWN: &str = if cfg!(feature = "net") {
    "log=LEVEL, panic=reboot, ip=dhcp or ip=ADDRESS/LENGTH, gw=ADDRESS, dns=ADDRESS"
} else {
    "log=LEVEL, panic=reboot"
};

impl Arguments {
    /// Reads the arguments. A word that means nothing to this image is reported and ignored.
    pub(crate) fn parse(bootargs: &'static str) -> Self {
        let mut arguments = Self {
            log: "",
            #[cfg(feature = "net")]
            net: wakeful_net::Settings::default(),
        };
        for word in system(bootargs) {
            match word.split_once('=') {
                Some(("log", levels)) => arguments.log = levels,
                Some(("panic", "reboot")) => record::restart_after_panics(),
                #[cfg(feature = "net")]
                Some((key, value)) if arguments.take_net(word, key, value) => {}
                _ => console::print(format_args!(
                    "wakeful: boot argument `{word}` is unknown and ignored (known: {KNOWN}; \
                     arguments of the application go behind `--`)\n"
                )),
            }
        }
        arguments
    }
}

#[cfg(feature = "net")]
impl Arguments {
    /// Whether the word is one of the network's. A wrong one is reported.
    fn take_net(&mut self, word: &str, key: &str, value: &str) -> bool {
        match self.net.take(key, value) {
            None => return false,
            Some(Ok(())) => {}
            Some(Err(error)) => console::print(format_args!(
                "wakeful: boot argument `{word}` is ignored: {error}\n"
            )),
        }
        true
    }
}

/// The application's arguments: what follows `--`.
pub fn application() -> impl Iterator<Item = &'static str> {
    let words = machine::machine().bootargs.split_ascii_whitespace();
    words.skip_while(|&word| word != "--").skip(1)
}

/// The words before `--`.
fn system(bootargs: &str) -> impl Iterator<Item = &str> {
    bootargs.split_ascii_whitespace().take_while(|&word| word != "--")
}

#[cfg(not(feature = "log"))]
pub(crate) fn start_log(arguments: &Arguments) {
    if !arguments.log.is_empty() {
        console::print(format_args!(
            "wakeful: boot argument `log` has no effect: this image is built without the feature \
             `log`\n"
        ));
    }
}

#[cfg(feature = "log")]
pub(crate) fn start_log(arguments: &Arguments) {
    use core::time::Duration;

    use wakeful_hal::timer;

    fn uptime() -> Duration {
        let (ticks, hz) = (timer::now(), timer::frequency());
        Duration::from_secs(ticks / hz)
            + Duration::from_nanos((ticks % hz).saturating_mul(1_000_000_000) / hz)
    }

    let levels = wakeful_log::Levels::parse(arguments.log, |error| {
        console::print(format_args!("wakeful: boot argument `log`: {error}\n"));
    });
    wakeful_log::init(levels, wakeful_log::Sink { print: console::print, uptime });
}
