//! How the shape of a link is written on a command line and in a table.

use crate::config::quantity;
use crate::gateway::dto::{Shape, Span};
use crate::id::Name;
use std::time::Duration;

/// Parses a delay or jitter: a duration, or `0` or `0s` for none.
pub(super) fn span(text: &str) -> Result<Span, String> {
    if text == "0" {
        return Ok(Span(Duration::ZERO));
    }
    humantime::parse_duration(text).map(Span).map_err(|error| format!("{error}; write it as 20ms, or 0s for none"))
}

/// Parses a loss: a fraction, or a percentage.
pub(super) fn loss(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let loss = number.trim().parse::<f64>().ok().map(|number| number / scale);
    loss.filter(|loss| (0.0..=1.0).contains(loss))
        .ok_or_else(|| "a loss is a part of one as 0.01, or a percentage as 1%".to_owned())
}

/// Parses a rate in bits per second: `64kbit`, `10Mbit`, or a number; 0 for an unlimited rate.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    quantity::bits(text)
        .ok_or_else(|| "a rate is written as 64kbit, 10Mbit, 1Gbit, or as a number of bits a second".to_owned())
}

/// Parses a price in units of money per megabyte, as in `[[bearer]]`.
pub(super) fn price(text: &str) -> Result<f64, String> {
    let price = text.parse::<f64>().ok().filter(|price| (0.0..=1e6).contains(price));
    price.ok_or_else(|| "a price is a number of units of money a MB, as 5 or 0.25".to_owned())
}

/// Parses the name of a node.
pub(super) fn name(text: &str) -> Result<String, String> {
    Name::new(text).map(|name| name.to_string()).map_err(|error| format!("{text:?} is no node's name: {error}"))
}

/// The cells for delay with jitter, loss, rate and price; `-` if there is none.
pub(super) fn cells(shape: &Shape) -> [String; 4] {
    let Shape { delay, jitter, loss, rate, price } = shape;
    let none = || "-".to_owned();
    let time = |span: Span| humantime::format_duration(span.0).to_string();
    let delay = delay.map_or_else(none, |delay| match jitter {
        Some(jitter) => format!("{} ± {}", time(delay), time(*jitter)),
        None => time(delay),
    });
    [
        delay,
        loss.map_or_else(none, |loss| format!("{} %", (loss * 1e6).round() / 1e4)),
        rate.map_or_else(none, bits),
        price.map_or_else(none, |price| format!("{price}/MB")),
    ]
}

/// Everything but the price, on one line.
pub(super) fn summary(shape: &Shape) -> String {
    let [delay, loss, rate, _] = cells(shape);
    let loss = if loss == "-" { loss } else { format!("{loss} lost") };
    let parts: Vec<String> = [delay, loss, rate].into_iter().filter(|part| part != "-").collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn bits(rate: u64) -> String {
    let (scale, unit) = match rate {
        1_000_000_000.. => (1e9, "Gbit/s"),
        1_000_000.. => (1e6, "Mbit/s"),
        1_000.. => (1e3, "kbit/s"),
        _ => (1.0, "bit/s"),
    };
    format!("{} {unit}", (rate as f64 / scale * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_rates_are_read_as_people_write_them() {
        assert_eq!([loss("0.01"), loss("1%"), loss("1 %"), loss("0")], [Ok(0.01), Ok(0.01), Ok(0.01), Ok(0.0)]);
        assert!(["5", "-0.1", "101%", "much", "nan"].into_iter().all(|text| loss(text).is_err()));
        let rates = ["9600", "64kbit", "1.5Mbit", "10Mbit/s", "1 Gbps", "5M"].map(|text| rate(text).expect(text));
        assert_eq!(rates, [9_600, 64_000, 1_500_000, 10_000_000, 1_000_000_000, 5_000_000]);
        assert!(["", "fast", "10 MiB", "1.2.3k"].into_iter().all(|text| rate(text).is_err()));
    }

    #[test]
    fn a_shape_is_told_on_one_line() {
        let shape = Shape {
            delay: Some(Span(Duration::from_millis(20))),
            jitter: Some(Span(Duration::from_millis(10))),
            loss: Some(0.01),
            rate: Some(1_500_000),
            price: Some(2.5),
        };
        assert_eq!(summary(&shape), "20ms ± 10ms, 1 % lost, 1.5 Mbit/s");
        assert_eq!(cells(&shape)[3], "2.5/MB");
        assert_eq!(summary(&Shape::default()), "-");
    }
}
