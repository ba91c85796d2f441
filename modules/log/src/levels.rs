//! Which messages are wanted: `info`, or `warn,net=debug,app::http=off`.

use core::fmt;

use arrayvec::ArrayVec;
use log::LevelFilter;

use crate::DEFAULT_LEVEL;

/// Targets that can have a level of their own.
const MAX_TARGETS: usize = 16;

/// A level for each target, and one for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels<'a> {
    default: LevelFilter,
    targets: ArrayVec<(&'a str, LevelFilter), MAX_TARGETS>,
}

/// A part of the directives that means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error<'a> {
    /// Not one of `off`, `error`, `warn`, `info`, `debug`, `trace`.
    UnknownLevel(&'a str),
    /// More than 16 targets: this one has the level of all others.
    TooManyTargets(&'a str),
}

impl fmt::Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownLevel(word) => {
                write!(f, "`{word}` is not a log level (off, error, warn, info, debug, trace)")
            }
            Self::TooManyTargets(target) => {
                write!(f, "only {MAX_TARGETS} targets can have a log level: `{target}` has none")
            }
        }
    }
}

impl Default for Levels<'_> {
    fn default() -> Self {
        Self { default: DEFAULT_LEVEL, targets: ArrayVec::new_const() }
    }
}

impl<'a> Levels<'a> {
    /// Reads directives separated by commas: `LEVEL` for all, `TARGET=LEVEL` for one and what is
    /// below it (`net` covers `net::dhcp`). The last one counts. What is wrong is told and left out.
    pub fn parse(directives: &'a str, mut wrong: impl FnMut(Error<'a>)) -> Self {
        let mut levels = Self::default();
        for directive in directives.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (target, level) = match directive.split_once('=') {
                Some((target, level)) => (Some(target), level),
                None => (None, directive),
            };
            let Ok(level) = level.parse::<LevelFilter>() else {
                wrong(Error::UnknownLevel(level));
                continue;
            };
            match target {
                None => levels.default = level,
                Some(target) => {
                    let same = levels.targets.iter_mut().find(|(known, _)| *known == target);
                    if let Some((_, known)) = same {
                        *known = level;
                    } else if levels.targets.try_push((target, level)).is_err() {
                        wrong(Error::TooManyTargets(target));
                    }
                }
            }
        }
        levels
    }

    /// The level of a target: that of the longest directive which covers it.
    pub fn of(&self, target: &str) -> LevelFilter {
        let covers = |name: &str| {
            let rest = target.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let covering = self.targets.iter().filter(|(name, _)| covers(name));
        covering.max_by_key(|(name, _)| name.len()).map_or(self.default, |&(_, level)| level)
    }

    /// The most talkative level of all.
    pub fn most(&self) -> LevelFilter {
        self.targets.iter().map(|&(_, level)| level).fold(self.default, Ord::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(directives: &str) -> Levels<'_> {
        Levels::parse(directives, |error| panic!("{error}"))
    }

    #[test]
    fn says_info_by_itself() {
        assert_eq!(parse(""), Levels::default());
        assert_eq!(parse("").of("anything"), LevelFilter::Info);
    }

    #[test]
    fn longest_target_counts() {
        let levels = parse("warn, net=debug,net::dhcp=off");
        assert_eq!(levels.of("app"), LevelFilter::Warn);
        assert_eq!(levels.of("net"), LevelFilter::Debug);
        assert_eq!(levels.of("net::tcp"), LevelFilter::Debug);
        assert_eq!(levels.of("net::dhcp::client"), LevelFilter::Off);
        assert_eq!(levels.of("network"), LevelFilter::Warn);
        assert_eq!(levels.most(), LevelFilter::Debug);
    }

    #[test]
    fn last_directive_counts() {
        assert_eq!(parse("a=info,a=trace,error").of("a"), LevelFilter::Trace);
        assert_eq!(parse("debug,error").of("a"), LevelFilter::Error);
    }

    #[test]
    fn tells_what_is_wrong_and_keeps_the_rest() {
        let mut wrong = Vec::new();
        let levels = Levels::parse("loud,net=,warn,=info,a=b=c", |error| wrong.push(error));
        assert_eq!(levels.of("x"), LevelFilter::Warn);
        let unknown = ["loud", "", "b=c"].map(Error::UnknownLevel);
        assert_eq!(wrong, unknown);
    }

    #[test]
    fn bounds_the_number_of_targets() {
        let many: Vec<String> = (0..20).map(|n| format!("t{n}=debug")).collect();
        let many = many.join(",");
        let mut left_out = 0;
        let levels = Levels::parse(&many, |_| left_out += 1);
        assert_eq!((left_out, levels.of("t15")), (4, LevelFilter::Debug));
        assert_eq!(levels.of("t16"), LevelFilter::Info);
    }
}
