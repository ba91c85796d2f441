//! What an application's `main` may return.

use core::fmt;

use wakeful_hal::{console, power};

/// A result of `main`: `()`, or a `Result` whose error is printed.
pub trait MainResult {
    /// The exit code; says on the console what went wrong.
    fn exit_code(self) -> u8;
}

impl MainResult for () {
    fn exit_code(self) -> u8 {
        power::EXIT_SUCCESS
    }
}

impl<T: MainResult, E: fmt::Debug> MainResult for Result<T, E> {
    fn exit_code(self) -> u8 {
        match self {
            Ok(result) => result.exit_code(),
            Err(error) => {
                console::print(format_args!("Error: {error:?}\n"));
                power::EXIT_ERROR
            }
        }
    }
}

impl MainResult for core::convert::Infallible {
    fn exit_code(self) -> u8 {
        match self {}
    }
}
