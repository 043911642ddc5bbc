//! Page: a comparison as one HTML page, with a bar for each variant and metric and its interval. It makes no requests
//! and has no script; the table gives the values of the bars.

use super::{Difference, difference, in_words, name, value};
use crate::cli::statistics::Estimate;
use crate::cli::sweep::results::{self, Sweep};
use crate::metrics::{self, Unit};

/// Returns the page.
pub(super) fn page(sweep: &Sweep, common: usize) -> String {
    let mut body = String::new();
    for (metric, unit) in results::shown(&sweep.points) {
        body.push_str(&section(sweep, common, &metric, unit));
    }
    let passed: String = sweep
        .points
        .iter()
        .map(|point| {
            format!("<li><b>{}</b>: {} of {} passed</li>", escaped(&name(point, common)), point.passed, point.runs)
        })
        .collect();
    TEMPLATE
        .replace("{{style}}", STYLE)
        .replace("{{scenario}}", &escaped(&sweep.scenario))
        .replace("{{passed}}", &passed)
        .replace("{{metrics}}", &body)
        // Last, since a question may look like a marker.
        .replace("{{question}}", &escaped(&sweep.question))
}

fn section(sweep: &Sweep, common: usize, metric: &str, unit: Unit) -> String {
    let estimates: Vec<Option<&Estimate>> = sweep.points.iter().map(|point| point.metrics.get(metric)).collect();
    let largest = estimates.iter().flatten().map(|estimate| estimate.most.abs()).fold(0.0, f64::max);
    let scale = |value: f64| if largest > 0.0 { (value / largest * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    let base = estimates.first().copied().flatten();
    let mut rows = String::new();
    for (number, (point, estimate)) in sweep.points.iter().zip(&estimates).enumerate() {
        let Some(estimate) = estimate else { continue };
        let (low, high) = estimate.interval.unwrap_or((estimate.median, estimate.median));
        let against: Option<Difference> =
            base.filter(|_| number > 0).map(|base| difference(metric, number, base, estimate));
        rows.push_str(&format!(
            "<tr><th>{}</th><td class=\"bar\"><div><i style=\"width:{:.2}%\"></i><s style=\"left:{:.2}%;width:{:.2}%\"></s></div></td>\
             <td>{}</td><td>{}</td></tr>",
            escaped(&name(point, common)),
            scale(estimate.median),
            scale(low),
            scale(high) - scale(low),
            value(unit, estimate),
            against.map_or_else(String::new, |against| in_words(unit, &against)),
        ));
    }
    let bare = metric.split('[').next().unwrap_or(metric);
    let about = metrics::find(bare).map_or("", |metric| metric.about);
    format!("<h2>{}</h2><p>{}</p><table>{rows}</table>", escaped(metric), escaped(about))
}

/// Returns text that is allowed in an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const TEMPLATE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{scenario}} compared</title>
<style>{{style}}</style>
</head>
<body>
<main>
<h1>{{question}}</h1>
<ul>{{passed}}</ul>
<p>Medians over seeds. The line over a bar is the 95&nbsp;% interval of the median. Differences are against the first;
* where the intervals do not overlap.</p>
{{metrics}}
</main>
</body>
</html>
"#;

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --bar: #4a7fb5; --line: #c2410c; }
main { max-width: 56rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1rem; margin: 1.75rem 0 0; font-family: ui-monospace, monospace; }
h2 + p { margin: 0 0 .25rem; opacity: .7; font-size: .9rem; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: normal; width: 30%; overflow-wrap: anywhere; }
td { text-align: right; padding: .15rem 0 .15rem .75rem; font-size: .9rem; }
td.bar { width: 34%; }
td.bar div { position: relative; height: 1.2rem; background: #8882; }
td.bar i, td.bar s { position: absolute; left: 0; }
td.bar i { top: 0; bottom: 0; background: var(--bar); }
td.bar s { top: 50%; height: 2px; background: var(--line); min-width: 2px; }
@media (max-width: 40rem) { td.bar { display: none; } th { width: 34%; } }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::statistics::estimate;
    use crate::cli::sweep::results::Point;

    #[test]
    fn the_page_asks_for_nothing_and_text_stays_text() {
        let point = |set: &str, values: &[f64]| Point {
            set: vec![set.to_owned()],
            runs: values.len(),
            passed: 0,
            failed_seeds: Vec::new(),
            expectations: Vec::new(),
            metrics: estimate(values).map(|estimate| ("latency.p50".to_owned(), estimate)).into_iter().collect(),
        };
        let sweep = Sweep {
            scenario: "x".to_owned(),
            question: "Is a < b, or {{style}}?".to_owned(),
            points: vec![point("a=<1>", &[1.0; 6]), point("a=2", &[2.0; 6])],
        };
        let page = page(&sweep, 0);
        assert!(page.contains("Is a &lt; b, or {{style}}?") && page.contains("a=&lt;1&gt;"), "{page}");
        assert!(page.contains("+100.0 % *"), "{page}");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"), "{page}");
    }
}
