//! What a test waits for on a console, and what it types there.
//!
//! A [`Script`] is a list of steps in order, and of things that must hold for the whole text. A
//! pattern is text that must appear within one line; `*` in it stands for anything on that line.
//! Two patterns may match the same line, one after the other.

use std::fmt;

/// What must happen on a console.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    steps: Vec<Step>,
    absent: Vec<&'static str>,
    counted: Vec<(usize, &'static str)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    See(&'static str),
    Type(&'static str),
}

impl Script {
    /// Then `pattern` appears.
    pub(crate) fn sees(&mut self, pattern: &'static str) {
        self.steps.push(Step::See(pattern));
    }

    /// Then the test types `text`.
    pub(crate) fn types(&mut self, text: &'static str) {
        self.steps.push(Step::Type(text));
    }

    /// `pattern` appears nowhere.
    pub(crate) fn never(&mut self, pattern: &'static str) {
        self.absent.push(pattern);
    }

    /// `pattern` appears in exactly `count` places.
    pub(crate) fn times(&mut self, count: usize, pattern: &'static str) {
        self.counted.push((count, pattern));
    }
}

/// A script being followed.
pub(crate) struct Progress<'a> {
    script: &'a Script,
    /// Steps done.
    done: usize,
    /// Where the next pattern may begin.
    position: usize,
}

impl<'a> Progress<'a> {
    /// At the first step.
    pub(crate) fn new(script: &'a Script) -> Self {
        Self { script, done: 0, position: 0 }
    }

    /// Goes as far as `text`, everything printed so far, allows. Returns what is to be typed now.
    pub(crate) fn advance(&mut self, text: &str) -> String {
        let mut typed = String::new();
        while let Some(step) = self.script.steps.get(self.done) {
            match *step {
                Step::Type(input) => typed.push_str(input),
                Step::See(pattern) => match find(&text[self.position..], pattern) {
                    Some(end) => self.position += end,
                    None => {
                        // Not on a line that is whole, and on no later one unless it comes.
                        let last = text.rfind('\n').map_or(0, |end| end + 1);
                        self.position = self.position.max(last);
                        break;
                    }
                },
            }
            self.done += 1;
        }
        typed
    }

    /// All steps are done.
    pub(crate) fn complete(&self) -> bool {
        self.done == self.script.steps.len()
    }

    /// What is wrong with `text`, now that nothing more will be printed.
    pub(crate) fn verdict(&self, text: &str) -> Result<(), Mismatch> {
        if let Some(Step::See(pattern)) = self.script.steps.get(self.done) {
            let after = match self.script.steps[..self.done]
                .iter()
                .rev()
                .find(|step| matches!(step, Step::See(_)))
            {
                Some(Step::See(before)) => Some(*before),
                _ => None,
            };
            return Err(Mismatch::Missing { pattern, after });
        }
        for &pattern in &self.script.absent {
            if find(text, pattern).is_some() {
                return Err(Mismatch::Present(pattern));
            }
        }
        for &(expected, pattern) in &self.script.counted {
            let count = count(text, pattern);
            if count != expected {
                return Err(Mismatch::Count { pattern, expected, count });
            }
        }
        Ok(())
    }
}

/// How a console differs from its script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mismatch {
    Missing { pattern: &'static str, after: Option<&'static str> },
    Present(&'static str),
    Count { pattern: &'static str, expected: usize, count: usize },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { pattern, after: None } => write!(f, "never printed: {pattern:?}"),
            Self::Missing { pattern, after: Some(before) } => {
                write!(f, "not printed after {before:?}: {pattern:?}")
            }
            Self::Present(pattern) => write!(f, "must not be printed: {pattern:?}"),
            Self::Count { pattern, expected, count } => {
                write!(f, "must be printed {expected} times, not {count} times: {pattern:?}")
            }
        }
    }
}

/// Where the first match of `pattern` in `text` ends.
fn find(text: &str, pattern: &str) -> Option<usize> {
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let mut end = 0;
        let mut parts = pattern.split('*');
        if parts.all(|part| line[end..].find(part).map(|at| end += at + part.len()).is_some()) {
            return Some(line_start + end);
        }
        line_start += line.len();
    }
    None
}

fn count(mut text: &str, pattern: &str) -> usize {
    let mut count = 0;
    while let Some(end) = find(text, pattern) {
        count += 1;
        text = &text[end..];
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(build: impl FnOnce(&mut Script)) -> Script {
        let mut script = Script::default();
        build(&mut script);
        script
    }

    #[test]
    fn stars_stay_on_their_line() {
        assert_eq!(find("memory  128 MiB\n", "memory*128 MiB"), Some(15));
        assert_eq!(find("memory\n128 MiB\n", "memory*128 MiB"), None);
        assert_eq!(find("x\nmemory: 128 MiB", "memory*128 MiB"), Some(17));
        assert_eq!(find("ab", "b*a"), None);
    }

    #[test]
    fn steps_go_in_order_and_may_share_a_line() {
        let script = script(|s| {
            s.sees("one");
            s.sees("two");
            s.sees("one");
        });
        let text = "one two\nthree one\n";
        let mut progress = Progress::new(&script);
        progress.advance(text);
        assert_eq!(progress.verdict(text), Ok(()));

        let mut progress = Progress::new(&script);
        progress.advance("two one two\n");
        assert_eq!(
            progress.verdict(""),
            Err(Mismatch::Missing { pattern: "one", after: Some("two") })
        );
    }

    #[test]
    fn typing_waits_for_what_comes_before_it() {
        let script = script(|s| {
            s.sees("> ");
            s.types("hello\n");
            s.sees("hello!");
        });
        let mut progress = Progress::new(&script);
        assert_eq!(progress.advance("ready"), "");
        assert_eq!(progress.advance("ready\n> "), "hello\n");
        assert_eq!(progress.advance("ready\n> he"), "");
        assert!(!progress.complete());
        assert_eq!(progress.advance("ready\n> hello!"), "");
        assert!(progress.complete());
    }

    #[test]
    fn whole_text_is_judged_at_the_end() {
        let script = script(|s| {
            s.never("warning");
            s.times(1, "panicked at");
        });
        let progress = Progress::new(&script);
        assert_eq!(progress.verdict("panicked at x"), Ok(()));
        assert_eq!(progress.verdict("panicked at warning"), Err(Mismatch::Present("warning")));
        assert_eq!(
            progress.verdict("panicked at x, panicked at y"),
            Err(Mismatch::Count { pattern: "panicked at", expected: 1, count: 2 })
        );
        assert!(progress.verdict("").is_err());
    }
}
