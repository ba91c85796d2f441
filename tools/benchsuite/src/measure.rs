//! Marks, and the lines that tell the host what lies between them.
//!
//! ```text
//! row NAME SKIPPED PAIRS OPERATIONS [less NAME] [interrupts] [median]
//! value NAME NUMBER
//! ```
//!
//! A row line comes after the row's marks. Of the marks since the last row line the first SKIPPED
//! mean nothing; then come PAIRS times two, the beginning and the end of OPERATIONS operations. What
//! a row named behind `less` costs for one operation is taken off. Every row is run twice, to be
//! warm: of rows of the same name the last counts. The row [`MARKS`] says what a pair costs when
//! there is nothing between; it comes first. A value is a result already.
//!
//! The hart's trap entry is a mark, too. It counts only in rows of `interrupts`, where each mark ends
//! a pair that the latest trap of the same hart began. Where one pair may differ from the next because
//! of the host's clock or another hart, the `median` of them counts instead of all.

#![expect(unsafe_code, reason = "a mark is a call that leaves every register but one alone")]

use core::{
    arch::{asm, global_asm},
    fmt,
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
    /// Where pairs begin.
    pub(crate) begin: Begin,
    /// Whether pairs may differ.
    pub(crate) median: bool,
}

/// Where a pair of marks begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Begin {
    Mark,
    /// At the first instruction of the trap before the mark that ends it.
    Interrupt,
}

impl Shape {
    /// Two marks around all iterations.
    pub(crate) const AROUND: Self =
        Self { skipped: 0, pairs: 1, operations: ITERATIONS, ..Self::EACH };
    /// Two marks around each iteration.
    pub(crate) const EACH: Self = Self {
        skipped: 0,
        pairs: ITERATIONS,
        operations: 1,
        less: None,
        begin: Begin::Mark,
        median: false,
    };
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { skipped, pairs, operations, less, begin, median } = self;
        write!(f, "{skipped} {pairs} {operations}")?;
        if let Some(less) = less {
            write!(f, " less {less}")?;
        }
        f.write_str(if *begin == Begin::Interrupt { " interrupts" } else { "" })?;
        f.write_str(if *median { " median" } else { "" })
    }
}

/// A row: `body` passes the marks of this shape.
pub(crate) async fn row(owner: &str, name: &str, shape: Shape, mut body: impl AsyncFnMut()) {
    for _ in 0..2 {
        body().await;
        println!("row {owner}/{name} {shape}");
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
