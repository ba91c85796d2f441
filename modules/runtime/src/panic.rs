//! What a panic says before the machine stops.

use core::panic::PanicInfo;

use wakeful_hal::{hart, power, report::Report};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let report = Report::begin();
    let (number, id) = (hart::number(), hart::id());
    report.print(format_args!("\npanic on hart {number} (id {id}): {info}\n"));
    #[cfg(feature = "alloc")]
    if let Some(size) = wakeful_alloc::last_refusal() {
        report.print(format_args!(
            "out of memory: the last allocation without memory was of {size} bytes; {} frames of \
             {} are free\n",
            wakeful_alloc::frames::available(),
            wakeful_alloc::frames::total(),
        ));
    }
    report.backtrace();
    report.end(power::EXIT_PANIC)
}
