//! Marks, and the lines that tell the host what lies between them.
//!
//! ```text
//! row NAME SKIPPED PAIRS OPERATIONS [less NAME]
//! value NAME NUMBER
//! ```
//!
//! A row line comes after the row's marks. Of the marks since the last row line the first SKIPPED
//! mean nothing; then come PAIRS times two, the beginning and the end of OPERATIONS operations. What
//! a row named behind `less` costs for one operation is taken off. Every row is run twice, to be
//! warm: of rows of the same name the last counts. The row [`MARKS`] says what a pair costs when
//! there is nothing between; it comes first. A value is a result already.

#![expect(unsafe_code, reason = "a mark is a call that leaves every register but one alone")]

use core::{
    arch::{asm, global_asm},
    hint::black_box,
};

use wakeful::println;

/// Two marks with nothing between.
pub(crate) const MARKS: &str = "bench/marks";

/// A counted loop around `black_box` of a reference.
pub(crate) const LOOP: &str = "bench/loop";

/// Iterations of a row. All are alike, so more would not make the result better.
pub(crate) const ITERATIONS: usize = 1000;

global_asm!(
    ".pushsection .text.bench_mark, \"ax\"",
    ".globl bench_mark",
    "bench_mark:",
    "nop",
    "jr t0",
    ".popsection",
);

/// A place that the plugin counts up to: the `nop` above.
///
/// It costs its caller two instructions, and no frame: what is marked as the first instruction of a
/// function really is.
#[inline(always)]
pub(crate) fn mark() {
    // SAFETY: what is called does nothing and returns through t0.
    unsafe { asm!("call t0, bench_mark", out("t0") _, options(nostack)) };
}

/// What belongs to a row, beside its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Marks that come before the pairs.
    pub(crate) skipped: usize,
    /// Pairs of marks.
    pub(crate) pairs: usize,
    /// Operations within a pair.
    pub(crate) operations: usize,
    /// The row that says what the row costs without its operations.
    pub(crate) less: Option<&'static str>,
}

impl Shape {
    /// Two marks around all iterations.
    pub(crate) const AROUND: Self =
        Self { skipped: 0, pairs: 1, operations: ITERATIONS, less: None };
    /// Two marks around each iteration.
    pub(crate) const EACH: Self = Self { skipped: 0, pairs: ITERATIONS, operations: 1, less: None };
}

/// A row: `body` passes the marks of this shape.
pub(crate) async fn row(owner: &str, name: &str, shape: Shape, mut body: impl AsyncFnMut()) {
    for _ in 0..2 {
        body().await;
        let Shape { skipped, pairs, operations, less } = shape;
        match less {
            None => println!("row {owner}/{name} {skipped} {pairs} {operations}"),
            Some(less) => println!("row {owner}/{name} {skipped} {pairs} {operations} less {less}"),
        }
    }
}

/// A result that needs no counting.
pub(crate) fn value(owner: &str, name: &str, number: usize) {
    println!("value {owner}/{name} {number}");
}

/// Does `operation` again and again with the same reference, between two marks.
#[inline(always)]
pub(crate) fn repeat<T>(subject: &T, operation: impl Fn(&T)) {
    mark();
    for _ in 0..ITERATIONS {
        operation(black_box(subject));
    }
    mark();
}

/// The rows [`MARKS`] and [`LOOP`].
pub(crate) async fn calibrate() {
    let own = |name: &'static str| name.split_once('/').expect("`owner/name`");
    let (owner, name) = own(MARKS);
    row(owner, name, Shape::EACH, async || {
        for _ in 0..ITERATIONS {
            mark();
            mark();
        }
    })
    .await;
    let (owner, name) = own(LOOP);
    row(owner, name, Shape::AROUND, async || repeat(&0, |_| ())).await;
}
