//! Line plots as inline SVG, of two kinds: time by quantile, and anything by second.

use std::fmt::Write;

use super::{html::escape, text::micros};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 4] = ["#2563eb", "#059669", "#d97706", "#dc2626"];

/// A line with its name.
pub(super) struct Curve {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, f64)>,
}

/// Scales of both axes: values to 0..1.
struct Axes<'a> {
    x: &'a dyn Fn(f64) -> f64,
    y: &'a dyn Fn(f64) -> f64,
}

fn left(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn top(share: f64) -> f64 {
    TOP + (1.0 - share) * (HEIGHT - TOP - BOTTOM)
}

fn put(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = svg.write_fmt(arguments);
}

fn draw(
    title: &str,
    curves: &[Curve],
    axes: &Axes<'_>,
    x_ticks: &[(f64, String)],
    y_ticks: &[(f64, String)],
) -> String {
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\" \
        font-family=\"system-ui\" font-size=\"11\"><text x=\"{LEFT}\" y=\"16\" \
        font-weight=\"bold\">{}</text>",
        escape(title),
        escape(title)
    );
    for (value, label) in y_ticks {
        let y = top((axes.y)(*value));
        put(
            &mut svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e2e5ea\"/>\
            <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
            ),
        );
    }
    for (value, label) in x_ticks {
        let x = left((axes.x)(*value));
        put(
            &mut svg,
            format_args!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#eef0f3\"/>\
            <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 16.0,
            ),
        );
    }
    for (index, curve) in curves
        .iter()
        .filter(|curve| !curve.points.is_empty())
        .enumerate()
    {
        let colour = COLOURS[index % COLOURS.len()];
        put(
            &mut svg,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\""
            ),
        );
        for (x, y) in &curve.points {
            let (x, y) = ((axes.x)(*x).clamp(0.0, 1.0), (axes.y)(*y).clamp(0.0, 1.0));
            put(&mut svg, format_args!("{:.1},{:.1} ", left(x), top(y)));
        }
        put(
            &mut svg,
            format_args!(
                "\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>",
                LEFT + 10.0 + index as f64 * 160.0,
                HEIGHT - 6.0,
                escape(curve.name),
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Microseconds by quantile; both axes are logarithmic, the lower one in what lies above.
pub(super) fn quantiles(title: &str, curves: &[Curve]) -> String {
    let values = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, y)| *y);
    let (low, high) = values
        .filter(|y| *y > 0.0)
        .fold((f64::MAX, 0.0f64), |(low, high), y| {
            (low.min(y), high.max(y))
        });
    if high <= 0.0 {
        return String::new();
    }
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let span = (high - low).max(1.0);
    let y = |time_us: f64| (time_us.max(1e-3).log10() - low) / span;
    // To 99.99 %: four tenfolds of what lies above.
    let x = |quantile: f64| -(1.0 - quantile).max(1e-5).log10() / 5.0;
    let x_ticks = [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999].map(|quantile| {
        let label = format!("P{}", (quantile * 1e6f64).round() / 1e4);
        (quantile, label)
    });
    let decades = 0..=(span as i32);
    let y_ticks: Vec<_> = decades
        .map(|decade| 10f64.powf(low + f64::from(decade)))
        .map(|time_us| (time_us, micros(time_us)))
        .collect();
    draw(title, curves, &Axes { x: &x, y: &y }, &x_ticks, &y_ticks)
}

/// Anything by second, from zero.
pub(super) fn seconds(title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let last = points().map(|(x, _)| *x).fold(0.0, f64::max).max(1.0);
    let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    if most <= 0.0 {
        return String::new();
    }
    let (x, y) = (|second: f64| second / last, |value: f64| value / most);
    let x_ticks: Vec<_> = (0..=5)
        .map(|fifth| f64::from(fifth) * last / 5.0)
        .map(|second| (second, format!("{second:.0}s")))
        .collect();
    let y_ticks: Vec<_> = (0..=4)
        .map(|quarter| f64::from(quarter) * most / 4.0)
        .map(|value| {
            (
                value,
                if most < 10.0 {
                    format!("{value:.2}")
                } else {
                    format!("{value:.0}")
                },
            )
        })
        .collect();
    draw(title, curves, &Axes { x: &x, y: &y }, &x_ticks, &y_ticks)
}
