//! The interrupt-driven side of a 16550 UART: rings and bursts over any register backend.
//!
//! Registers and their bits come from [`uart_16550`], and so does the [`Backend`] that reaches them.
//! What is added is what a console needs: text goes into a ring and the caller goes on; the
//! transmitter is fed in bursts as large as its FIFO, by its interrupt; what is typed waits in another
//! ring. Only when the output ring is full does a writer wait for the line.
//!
//! No globals, no locks, no allocation: whoever owns a [`Uart`] decides how it is shared. It leaves the
//! line's speed as the firmware has set it: for another, one would have to know the input clock.

#![cfg_attr(not(test), no_std)]

mod ring;
mod uart;

pub use ring::Ring;
pub use uart::Uart;
pub use uart_16550::{backend::Backend, spec::registers::offsets};
