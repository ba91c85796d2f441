//! Load on a web server: `wrk` and `ab`, and what they say about it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::program;

/// How a request finds its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each of them carries many requests.
    KeptAlive,
    /// One for each request.
    Fresh,
}

/// What a run of load has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Answers that were as they should be.
    pub(crate) requests: u64,
    /// Connections that failed, answers that are no success or did not come.
    pub(crate) errors: u64,
    pub(crate) per_second: f64,
    /// So long took half of the requests at most.
    pub(crate) median: Duration,
    /// So long took 99 of 100.
    pub(crate) p99: Duration,
}

/// Beyond the time that the work itself takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends requests for `path` on `connections` at once, for some seconds.
pub(crate) fn wrk(
    address: SocketAddr,
    path: &str,
    (connections, kind): (u32, Connections),
    seconds: u32,
) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads=1", "--latency", "--timeout=10s"])
        .arg(format!("--connections={connections}"))
        .arg(format!("--duration={seconds}s"));
    if kind == Connections::Fresh {
        wrk.args(["--header", "Connection: close"]);
    }
    wrk.arg(format!("http://{address}{path}"));
    let text = program::output(wrk, PATIENCE + Duration::from_secs(seconds.into()))?;
    parse_wrk(&text).with_context(|| format!("cannot read what wrk says:\n{text}"))
}

/// Sends `requests` for `path`, on `connections` at once.
pub(crate) fn ab(
    address: SocketAddr,
    path: &str,
    (connections, kind): (u32, Connections),
    requests: u32,
) -> Result<Load> {
    let mut ab = Command::new("ab");
    ab.args(["-q", "-s", "10"]).arg(format!("-c{connections}")).arg(format!("-n{requests}"));
    if kind == Connections::KeptAlive {
        ab.arg("-k");
    }
    ab.arg(format!("http://{address}{path}"));
    let text = program::output(ab, 2 * PATIENCE)?;
    parse_ab(&text).with_context(|| format!("cannot read what ab says:\n{text}"))
}

impl Load {
    /// An error if something went wrong, or if there were less than `least` answers.
    pub(crate) fn flawless(self, least: u64) -> Result<Self> {
        ensure!(self.errors == 0, "{} errors beside {} answers", self.errors, self.requests);
        ensure!(self.requests >= least, "{} answers only", self.requests);
        Ok(self)
    }
}

fn parse_wrk(text: &str) -> Result<Load> {
    let words = |head: &str| line_after(text, head).map(words);
    // `1234 requests in 5.00s, 1.2MB read`
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let requests: u64 = requests.context("no line has the number of requests")?.0.parse()?;
    // `Socket errors: connect 0, read 0, write 0, timeout 0`, if there were any
    let broken = words("Socket errors:").unwrap_or_default();
    let broken: u64 =
        broken.iter().filter_map(|word| word.trim_matches(',').parse::<u64>().ok()).sum();
    let refused = number(text, "Non-2xx or 3xx responses:").unwrap_or(0.0) as u64;
    let time = |head| duration(words(head)?.first()?);
    Ok(Load {
        requests: requests - refused,
        errors: broken + refused,
        per_second: number(text, "Requests/sec:").context("no requests per second")?,
        median: time("50%").context("no median")?,
        p99: time("99%").context("no 99th percentile")?,
    })
}

fn parse_ab(text: &str) -> Result<Load> {
    let complete = number(text, "Complete requests:").context("no number of requests")? as u64;
    // An answer of another length than the first one fails as well.
    let errors = ["Failed requests:", "Write errors:", "Non-2xx responses:"];
    let errors = errors.iter().filter_map(|head| number(text, head)).sum::<f64>() as u64;
    let milliseconds = |head| Some(Duration::from_secs_f64(number(text, head)? / 1000.0));
    Ok(Load {
        requests: complete.saturating_sub(errors),
        errors,
        per_second: number(text, "Requests per second:").context("no requests per second")?,
        median: milliseconds("50%").context("no median")?,
        p99: milliseconds("99%").context("no 99th percentile")?,
    })
}

/// The first number behind `head`.
fn number(text: &str, head: &str) -> Option<f64> {
    words(line_after(text, head)?).first()?.parse().ok()
}

/// What follows `head` on its line.
fn line_after<'a>(text: &'a str, head: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim_start().strip_prefix(head))
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// As wrk writes it: `350.00us`, `1.23ms`, `2.00s`, `1.50m`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "\
Running 5s test @ http://10.0.2.15/plaintext
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.21ms    1.30ms  30.11ms   91.20%
    Req/Sec     3.80k   210.15     4.20k    80.00%
  Latency Distribution
     50%    4.01ms
     75%    4.50ms
     90%    5.20ms
     99%    1.23s 
  18954 requests in 5.00s, 2.45MB read
Requests/sec:   3790.12
Transfer/sec:    501.20KB
";

    #[test]
    fn wrk_is_understood() {
        let load = parse_wrk(WRK).unwrap();
        assert_eq!((load.requests, load.errors, load.per_second), (18954, 0, 3790.12));
        assert_eq!(
            (load.median, load.p99),
            (Duration::from_micros(4010), Duration::from_millis(1230))
        );
        assert!(load.flawless(10_000).is_ok() && load.flawless(20_000).is_err());
        let errors = "  Socket errors: connect 1, read 20, write 0, timeout 3\n  Non-2xx or 3xx responses: 54\n";
        let load = parse_wrk(&format!("{WRK}{errors}")).unwrap();
        assert_eq!((load.requests, load.errors), (18900, 78));
        assert!(load.flawless(0).is_err());
        assert!(parse_wrk("unable to connect to 10.0.2.15:http Connection refused").is_err());
    }

    #[test]
    fn wrk_writes_times_in_four_units() {
        assert_eq!(duration("350.00us"), Some(Duration::from_micros(350)));
        assert_eq!(duration("1.50m"), Some(Duration::from_secs(90)));
        assert_eq!(duration("2h"), None);
    }

    const AB: &str = "\
Concurrency Level:      16
Time taken for tests:   1.482 seconds
Complete requests:      2000
Failed requests:        0
Keep-Alive requests:    2000
Total transferred:      268000 bytes
Requests per second:    1349.59 [#/sec] (mean)
Time per request:       11.855 [ms] (mean)

Connection Times (ms)
              min  mean[+/-sd] median   max
Connect:        0    4   2.4      4      17

Percentage of the requests served within a certain time (ms)
  50%     11
  66%     13
  99%     25
 100%     33 (longest request)
";

    #[test]
    fn ab_is_understood() {
        let load = parse_ab(AB).unwrap();
        assert_eq!((load.requests, load.errors, load.per_second), (2000, 0, 1349.59));
        assert_eq!((load.median, load.p99), (Duration::from_millis(11), Duration::from_millis(25)));
        let failed = AB.replace("Failed requests:        0", "Failed requests:        7");
        assert_eq!(parse_ab(&failed).unwrap().errors, 7);
        assert!(parse_ab("apr_socket_recv: Connection reset by peer (104)").is_err());
    }
}
