//! Charts: the figures as files for documents, as vectors (SVG) and pixels (PNG).
//!
//! They show the same as the page's plots, drawn by `plotters` from the same samples. Text is set in DejaVu Sans, which
//! is part of the program, since a machine that draws pixels may have no fonts. An SVG uses the reader's own sans-serif
//! font.
//!
//! Invariants
//! 1. The same record gives the same files.

use crate::metrics::{self, Unit};
use crate::record::Record;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::sync::OnceLock;

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// The name of its file, without the extension.
    pub name: &'static str,
    title: String,
    /// The unit of the vertical axis.
    unit: Unit,
    /// Whether the horizontal axis is the logarithm of time; otherwise it is time.
    logarithmic: bool,
    lines: Vec<Line>,
}

/// A line of a figure.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Returns the figures of a run that have something to show.
pub fn charts(record: &Record) -> Vec<Chart> {
    let over_time = |name, title: &str, unit, lines: Vec<Line>| Chart {
        name,
        title: title.to_owned(),
        unit,
        logarithmic: false,
        lines,
    };
    let gauge = |name: &str, pick: &dyn Fn(&crate::record::Sample) -> f64| Line {
        name: name.to_owned(),
        points: record.samples.iter().map(|sample| (sample.at_s, pick(sample))).collect(),
    };
    let rates = |names: &[String], pick: &dyn Fn(&crate::record::Sample, usize) -> u64| -> Vec<Line> {
        let line =
            |(place, name): (usize, &String)| Line { name: name.clone(), points: rate(record, &|s| pick(s, place)) };
        names.iter().enumerate().map(line).collect()
    };
    let at = |values: &[u64], place: usize| values.get(place).copied().unwrap_or_default();
    let all = vec![
        latency(record),
        over_time(
            "messages",
            "Messages since the start",
            Unit::Count,
            vec![
                gauge("sent", &|sample| sample.sent as f64),
                gauge("delivered", &|sample| sample.delivered as f64),
                gauge("failed", &|sample| sample.failed as f64),
            ],
        ),
        over_time(
            "reachability",
            "Pairs of devices connected over some way",
            Unit::Share,
            vec![gauge("reachable", &|sample| sample.reachable)],
        ),
        over_time("links", "Links up", Unit::Count, vec![gauge("links", &|sample| sample.links as f64)]),
        over_time(
            "traffic-by-purpose",
            "Bytes on all links, by purpose",
            Unit::BytesPerSecond,
            rates(&record.purposes, &|sample, place| at(&sample.purposes, place)),
        ),
        over_time(
            "traffic-by-bearer",
            "Bytes on all links, by bearer",
            Unit::BytesPerSecond,
            rates(&record.bearers, &|sample, place| at(&sample.bearers, place)),
        ),
        over_time("cost", "Cost since the start", Unit::Money, vec![gauge("cost", &|sample| sample.cost)]),
        over_time(
            "queues",
            "Messages on their way out",
            Unit::Count,
            vec![
                gauge("all nodes", &|sample| sample.queued as f64),
                gauge("fullest node", &|sample| sample.queued_most as f64),
            ],
        ),
    ];
    all.into_iter().filter(|chart| chart.lines.iter().any(|line| line.points.len() > 1)).collect()
}

fn latency(record: &Record) -> Chart {
    let flows = record.latencies.iter().filter(|(_, points)| !points.is_empty());
    let lines = flows.map(|(flow, points)| Line {
        name: flow.clone(),
        points: points.iter().map(|(at, share)| (at.max(SHORTEST).log10(), *share)).collect(),
    });
    Chart {
        name: "latency",
        title: "Share of messages that had arrived by then".to_owned(),
        unit: Unit::Share,
        logarithmic: true,
        lines: lines.collect(),
    }
}

/// Returns a cumulative count as a rate, over at most [`SPANS`] spans: finer ones show noise.
fn rate(record: &Record, pick: &dyn Fn(&crate::record::Sample) -> u64) -> Vec<(f64, f64)> {
    let step = record.samples.len().div_ceil(SPANS).max(1);
    let kept: Vec<_> = record.samples.iter().step_by(step).collect();
    let spans = kept.windows(2).filter(|pair| pair[1].at_s > pair[0].at_s);
    let rates = spans.flat_map(|pair| {
        let rate = pick(pair[1]).saturating_sub(pick(pair[0])) as f64 / (pair[1].at_s - pair[0].at_s);
        [(pair[0].at_s, rate), (pair[1].at_s, rate)]
    });
    rates.collect()
}

/// Draws a figure as an SVG document.
pub fn svg(chart: &Chart) -> Result<String, String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area, chart)?;
    }
    Ok(text)
}

/// Draws a figure as a PNG.
pub fn png(chart: &Chart) -> Result<Vec<u8>, String> {
    let mut pixels = vec![0; SIZE.0 as usize * SIZE.1 as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        draw(&area, chart)?;
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(|error| error.to_string())?;
    Ok(file)
}

fn draw<B: DrawingBackend>(area: &DrawingArea<B, Shift>, chart: &Chart) -> Result<(), String> {
    static FONT: OnceLock<bool> = OnceLock::new();
    if !FONT.get_or_init(|| register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok()) {
        return Err("the program's own font is no font; this is a defect of the program".to_owned());
    }
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let least = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let most = points().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max).max(least + 1e-9);
    let high = points().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let high = if chart.unit == Unit::Share {
        1.0
    } else if high > 0.0 {
        high * 1.05
    } else {
        1.0
    };
    area.fill(&WHITE).map_err(|error| said(&error))?;
    let mut figure = ChartBuilder::on(area)
        .caption(&chart.title, (FAMILY, 22))
        .margin(14)
        .margin_right(34)
        .x_label_area_size(40)
        .y_label_area_size(84)
        .build_cartesian_2d(least..most, 0.0..high)
        .map_err(|error| said(&error))?;
    let time = |at: &f64| {
        // Two digits are sufficient for a logarithm.
        let at = if chart.logarithmic { format!("{:.1e}", 10f64.powf(*at)).parse().unwrap_or(*at) } else { *at };
        metrics::text(Some(Unit::Seconds), at)
    };
    figure
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(BLACK.mix(0.5))
        .label_style((FAMILY, 14))
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&time)
        .y_label_formatter(&|value| metrics::text(Some(chart.unit), *value))
        .draw()
        .map_err(|error| said(&error))?;
    for (line, colour) in chart.lines.iter().zip(COLOURS.iter().cycle()) {
        let colour = RGBColor(colour[0], colour[1], colour[2]);
        let sound = line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        let series =
            figure.draw_series(LineSeries::new(sound, colour.stroke_width(2))).map_err(|error| said(&error))?;
        series
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    if chart.lines.len() > 1 {
        let position =
            if chart.logarithmic { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
        figure
            .configure_series_labels()
            .position(position)
            .label_font((FAMILY, 14))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.2))
            .draw()
            .map_err(|error| said(&error))?;
    }
    area.present().map_err(|error| said(&error))
}

/// The width and the height.
const SIZE: (u32, u32) = (960, 480);
const FAMILY: &str = "sans-serif";
/// Colours that people with impaired colour vision can distinguish (Okabe and Ito 2008), without the yellow.
const COLOURS: [[u8; 3]; 7] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0], [60, 60, 60]];
/// The seconds below which a latency is drawn as this value.
const SHORTEST: f64 = 1e-4;
/// The number of spans over which a rate is drawn.
const SPANS: usize = 140;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{alone, empty, typical};

    /// Invariant 1.
    #[test]
    fn every_figure_is_a_sound_svg_with_its_lines_named_and_a_sound_png() {
        let mut record = typical();
        record.bearers[0] = "<radio & \"co\">".into();
        let all = charts(&record);
        assert_eq!(all.len(), 8);
        for chart in &all {
            let text = svg(chart).expect(chart.name);
            let parsed = roxmltree::Document::parse(&text).expect("well-formed");
            let words: String = parsed.descendants().filter_map(|node| node.text()).collect();
            assert!(words.contains(&chart.title), "{}", chart.name);
            let named = chart.lines.iter().all(|line| chart.lines.len() == 1 || words.contains(&line.name));
            assert!(named, "{}: {words}", chart.name);
            let file = png(chart).expect(chart.name);
            let mut read = png::Decoder::new(std::io::Cursor::new(&file)).read_info().expect("a PNG");
            let mut pixels = vec![0; read.output_buffer_size().expect("a size")];
            let info = read.next_frame(&mut pixels).expect("whole");
            assert_eq!((info.width, info.height), SIZE);
            // Words, axes and at least one line in colour.
            assert!(pixels.chunks(3).filter(|pixel| *pixel == COLOURS[0]).count() > 50, "{}", chart.name);
            assert_eq!((svg(chart), png(chart)), (Ok(text), Ok(file)), "the same again");
        }
    }

    #[test]
    fn of_nothing_there_is_no_figure() {
        assert_eq!(charts(&empty()), []);
        assert!(charts(&alone()).iter().all(|chart| chart.name != "latency"));
    }
}
