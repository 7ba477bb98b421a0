//! The table that `make bench` prints.
use crate::api::PerRequest;
use std::time::Duration;

/// Prints the columns' names.
pub fn header() {
    println!(
        "{:<52} {:>12} {:>12} {:>8}  bar",
        "figure", "orlop", "reference", "ratio"
    );
}

/// One figure measured beside a reference measured in the same run.
pub fn ratio(what: &str, ours: &[Duration], reference: &[Duration], bar: f64) {
    let (ours, reference) = (median(ours), median(reference));
    let ratio = ours.as_secs_f64() / reference.as_secs_f64();
    let verdict = if ratio <= bar { "met" } else { "MISSED" };
    println!(
        "{what:<52} {:>12} {:>12} {ratio:>7.2}x  <= {bar}x {verdict}",
        milliseconds(ours),
        milliseconds(reference)
    );
}

/// One figure against a fixed bar; `reference` is a published figure, for orientation.
pub fn bar(what: &str, ours: f64, unit: &str, reference: &str, bar: f64) {
    let verdict = if ours <= bar { "met" } else { "MISSED" };
    let ours = format!("{ours:.1} {unit}");
    println!(
        "{what:<52} {ours:>12} {reference:>12} {:>8}  <= {bar} {unit} {verdict}",
        ""
    );
}

/// One figure without a bar.
pub fn figure(what: &str, ours: f64, unit: &str) {
    let ours = format!("{ours:.1} {unit}");
    println!("{what:<52} {ours:>12} {:>12}", "-");
}

/// A latency beside what it rests on; the bar is for what comes on top.
pub fn above(what: &str, ours: &[Duration], reference: &[Duration], bar: Duration) {
    let (ours, reference) = (median(ours), median(reference));
    let more = ours.saturating_sub(reference);
    let verdict = if more <= bar { "met" } else { "MISSED" };
    println!(
        "{what:<52} {:>12} {:>12} {:>8}  <= {} us more {verdict}",
        microseconds(ours),
        microseconds(reference),
        format!("+{}", more.as_micros()),
        bar.as_micros(),
    );
}

/// The same in milliseconds.
pub fn within(what: &str, ours: &[Duration], reference: &[Duration], bar: Duration) {
    let (ours, reference) = (median(ours), median(reference));
    let more = ours.saturating_sub(reference);
    let verdict = if more <= bar { "met" } else { "MISSED" };
    println!(
        "{what:<52} {:>12} {:>12} {:>8}  <= {} ms more {verdict}",
        milliseconds(ours),
        milliseconds(reference),
        format!("+{}", more.as_millis()),
        bar.as_millis(),
    );
}

/// Rates, summed over `rounds`; more is better.
pub fn rate(what: &str, ours: f64, reference: f64, rounds: usize, bar: f64) {
    let ratio = ours / reference;
    let verdict = if ratio >= bar { "met" } else { "MISSED" };
    let each = |sum: f64| format!("{:.0} /s", sum / rounds as f64);
    println!(
        "{what:<52} {:>12} {:>12} {ratio:>7.2}x  >= {bar}x {verdict}",
        each(ours),
        each(reference)
    );
}

/// The same without a bar: what the figure above can come to at most.
pub fn share(what: &str, rate: f64, reference: f64, rounds: usize) {
    let each = |sum: f64| format!("{:.0} /s", sum / rounds as f64);
    println!(
        "{what:<52} {:>12} {:>12} {:>7.2}x",
        each(rate),
        each(reference),
        rate / reference
    );
}

/// What the requests of the line above cost, and what they could come to with nothing else on the machine.
pub fn cpu(each: &PerRequest) {
    let client = each.client.as_micros();
    match (each.server, each.rate_of_two_processors()) {
        (Some(server), Some(rate)) => println!(
            "  processor time of each: server {} us, client {client} us; two processors: {rate:.0} /s",
            server.as_micros()
        ),
        _ => println!("  processor time of each: client {client} us"),
    }
}

/// The 99th percentiles of two sets of samples; the bar is for ours. There may be no reference.
pub fn percentile(what: &str, ours: &[Duration], reference: &[Duration], bar: Duration) {
    let p99 = |samples: &[Duration]| {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    };
    let reference = match reference {
        [] => "-".to_owned(),
        samples => milliseconds(p99(samples)),
    };
    let ours = p99(ours);
    let verdict = if ours <= bar { "met" } else { "MISSED" };
    println!(
        "{what:<52} {:>12} {reference:>12} {:>8}  <= {} ms {verdict}",
        milliseconds(ours),
        "",
        bar.as_millis(),
    );
}

fn microseconds(duration: Duration) -> String {
    format!("{} us", duration.as_micros())
}

/// The middle of the samples.
pub fn median(samples: &[Duration]) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
