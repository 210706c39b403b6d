//! Small multiples as one SVG, readable on light and on dark pages.

use std::fmt::Write;

/// A figure of two rows of panels.
pub struct Figure {
    pub title: String,
    pub rows: [(&'static str, Unit, Vec<Panel>); 2],
}

/// What the vertical axes of a row count.
#[derive(Clone, Copy)]
pub enum Unit {
    Seconds,
    Bytes,
}

/// One curve.
pub struct Panel {
    pub title: &'static str,
    /// What the horizontal axis counts.
    pub axis: &'static str,
    /// Horizontally, vertically.
    pub logarithmic: [bool; 2],
    pub points: Vec<Point>,
    /// The ends of a faint line to compare with.
    pub beside: [(f64, f64); 2],
}

/// A measured point: the median, and the ends of the middle half.
pub struct Point {
    pub x: f64,
    pub y: [f64; 3],
}

const WIDTH: f64 = 1000.0;
const HEAD: f64 = 44.0;
const FOOT: f64 = 40.0;
const ROW: f64 = 232.0;
/// Around a panel's axes: left, top, right, bottom.
const AROUND: [f64; 4] = [58.0, 52.0, 8.0, 40.0];

const STYLE: &str = "\
svg{--paper:#fff;--ink:#1f2a24;--soft:#5c6b63;--grid:#e3e9e5;--line:#0a7a4a;--beside:#a7b3ac}\
@media(prefers-color-scheme:dark){svg{--paper:#0f1512;--ink:#e0e9e3;--soft:#9db0a5;--grid:#26312b;\
--line:#57d49a;--beside:#5d6e64}}\
text{font:12px system-ui,sans-serif;fill:var(--soft)}\
.head{font-size:15px;font-weight:600;fill:var(--ink)}.name{font-size:13px;font-weight:600;\
fill:var(--ink)}.grid{stroke:var(--grid)}.beside{stroke:var(--beside);stroke-width:1.5;\
stroke-dasharray:5 4}.line{stroke:var(--line);stroke-width:2;fill:none}.half{stroke:var(--line);\
stroke-width:1.5}circle{fill:var(--line);stroke:var(--paper)}";

impl Figure {
    pub fn svg(&self) -> String {
        let height = HEAD + 2.0 * ROW + FOOT;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\">\n<title>How a step grows: {title}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"var(--paper)\"/>\n\
             <text class=\"head\" x=\"16\" y=\"26\">How one UNet step of the demo model grows: \
             {title}</text>\n",
            title = self.title
        );
        for (i, (name, unit, panels)) in self.rows.iter().enumerate() {
            let top = HEAD + ROW * i as f64;
            put(&mut svg, "name", "start", [16.0, top + 18.0], name);
            let width = WIDTH / panels.len().max(1) as f64;
            for (k, panel) in panels.iter().enumerate() {
                panel.draw(&mut svg, [width * k as f64, top, width, ROW], *unit);
            }
        }
        key(&mut svg, HEAD + 2.0 * ROW + 20.0);
        svg.push_str("</svg>\n");
        svg
    }
}

/// What the marks mean.
fn key(svg: &mut String, y: f64) {
    let line = |svg: &mut String, class: &str, x: f64, y: [f64; 2], wide: f64| {
        let (y1, y2) = (y[0], y[1]);
        let x2 = x + wide;
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"
        );
    };
    line(svg, "half", 30.0, [y - 7.0, y + 7.0], 0.0);
    line(svg, "line", 16.0, [y; 2], 28.0);
    let _ = writeln!(svg, "<circle cx=\"30\" cy=\"{y}\" r=\"4\"/>");
    put(svg, "", "start", [52.0, y + 4.0], "measured: median, and the middle half as a bar");
    line(svg, "beside", 372.0, [y; 2], 34.0);
    let beside =
        "in proportion to pixels and pictures; for adapters and rank, the step without any";
    put(svg, "", "start", [414.0, y + 4.0], beside);
}

impl Panel {
    fn draw(&self, svg: &mut String, [left, top, width, height]: [f64; 4], unit: Unit) {
        let area = [left + AROUND[0], top + AROUND[1]];
        let size = [width - AROUND[0] - AROUND[2], height - AROUND[1] - AROUND[3]];
        let beside = self.beside.iter().map(|&(_, y)| y);
        let values = self.points.iter().flat_map(|point| point.y).chain(beside);
        let (bottom, top_value) = bounds(values, self.logarithmic[1]);
        let xs = self.points.iter().map(|point| point.x);
        let (first, last) = (xs.clone().fold(f64::MAX, f64::min), xs.fold(f64::MIN, f64::max));
        let x = |value: f64| {
            let share = share(value, first, last, self.logarithmic[0]);
            area[0] + size[0] * (0.05 + 0.9 * share)
        };
        let y = |value: f64| {
            let share = share(value, bottom, top_value, self.logarithmic[1]);
            area[1] + size[1] * (1.0 - share)
        };

        let middle = area[0] + size[0] / 2.0;
        let end = area[0] + size[0];
        let base = area[1] + size[1];
        put(svg, "name", "middle", [middle, area[1] - 10.0], self.title);
        for tick in ticks(bottom, top_value, self.logarithmic[1], unit) {
            let at = y(tick);
            let from = area[0];
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{from:.1}\" y1=\"{at:.1}\" x2=\"{end:.1}\" y2=\"{at:.1}\"/>"
            );
            put(svg, "", "end", [from - 6.0, at + 4.0], &unit.label(tick));
        }
        for point in &self.points {
            put(svg, "", "middle", [x(point.x), base + 16.0], &format!("{}", point.x));
        }
        put(svg, "", "middle", [middle, base + 33.0], self.axis);

        let [(x1, y1), (x2, y2)] = self.beside.map(|(a, b)| (x(a), y(b)));
        let _ = writeln!(
            svg,
            "<line class=\"beside\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
        let path: Vec<String> =
            self.points.iter().map(|p| format!("{:.1},{:.1}", x(p.x), y(p.y[0]))).collect();
        let _ = writeln!(svg, "<polyline class=\"line\" points=\"{}\"/>", path.join(" "));
        for point in &self.points {
            let (cx, [cy, low, high]) = (x(point.x), point.y.map(y));
            let _ = writeln!(
                svg,
                "<line class=\"half\" x1=\"{cx:.1}\" y1=\"{low:.1}\" x2=\"{cx:.1}\" y2=\"{high:.1}\"/>\
                 <circle cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3.5\"/>"
            );
        }
    }
}

fn put(svg: &mut String, class: &str, anchor: &str, [x, y]: [f64; 2], text: &str) {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(
        svg,
        "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

/// Where a value lies between two others.
fn share(value: f64, from: f64, to: f64, logarithmic: bool) -> f64 {
    let scaled = |value: f64| if logarithmic { value.max(f64::MIN_POSITIVE).ln() } else { value };
    let span = scaled(to) - scaled(from);
    if span == 0.0 { 0.5 } else { (scaled(value) - scaled(from)) / span }
}

/// The ends of an axis with some air; one that isn't logarithmic begins at 0.
fn bounds(values: impl Iterator<Item = f64>, logarithmic: bool) -> (f64, f64) {
    let positive = values.filter(|&value| value > 0.0);
    let (low, high) = positive.fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
    match (high < low, logarithmic) {
        (true, _) => (0.0, 1.0),
        (false, true) => (low / 1.25, high * 1.25),
        (false, false) => (0.0, high * 1.15),
    }
}

/// Round numbers of the unit between two values: on a logarithmic axis 1, 2 and 5 times powers of
/// ten, or only the powers where these are many.
fn ticks(from: f64, to: f64, logarithmic: bool, unit: Unit) -> Vec<f64> {
    let one = unit.one(to);
    let (from, to) = (from / one, to / one);
    let within = |tick: &f64| (from..=to).contains(tick);
    let scaled = |ticks: Vec<f64>| ticks.into_iter().map(|tick| tick * one).collect();
    if !logarithmic {
        let rough = (to - from) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= rough);
        let step = step.unwrap_or(rough);
        let count = (to / step).floor() as usize;
        return scaled((0..=count).map(|i| i as f64 * step).collect());
    }
    let powers = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
    let of = |factors: &[f64]| -> Vec<f64> {
        let each = |power: i32| factors.iter().map(move |factor| factor * 10f64.powi(power));
        powers.clone().flat_map(each).filter(within).collect()
    };
    let fine = of(&[1.0, 2.0, 5.0]);
    let few = of(&[1.0]);
    scaled(if fine.len() > 6 && few.len() > 1 { few } else { fine })
}

impl Unit {
    /// What round numbers are round in.
    fn one(self, largest: f64) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Bytes if largest >= 2f64.powi(30) => 2f64.powi(30),
            Self::Bytes => 2f64.powi(20),
        }
    }

    fn label(self, value: f64) -> String {
        let digits = |value: f64| format!("{}", (value * 1e3).round() / 1e3);
        match self {
            _ if value == 0.0 => "0".into(),
            Self::Seconds if value < 1.0 => format!("{} ms", digits(value * 1e3)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::Bytes if value < 2f64.powi(30) => {
                format!("{} MiB", digits(value / 2f64.powi(20)))
            }
            Self::Bytes => format!("{} GiB", digits(value / 2f64.powi(30))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let labels = |from, to, log, unit: Unit| -> Vec<String> {
            ticks(from, to, log, unit).into_iter().map(|tick| unit.label(tick)).collect()
        };
        assert_eq!(labels(0.03, 0.3, true, Unit::Seconds), ["50 ms", "100 ms", "200 ms"]);
        assert_eq!(labels(0.03, 40.0, true, Unit::Seconds), ["100 ms", "1 s", "10 s"]);
        assert_eq!(labels(0.0, 0.09, false, Unit::Seconds), ["0", "50 ms"]);
        let mebi = 2f64.powi(20);
        assert_eq!(labels(mebi, 5.0 * mebi, true, Unit::Bytes), ["1 MiB", "2 MiB", "5 MiB"]);
    }

    #[test]
    fn places_are_shares_of_the_axis() {
        assert_eq!(share(4.0, 1.0, 16.0, true), 0.5);
        assert_eq!(share(4.0, 0.0, 16.0, false), 0.25);
        assert_eq!(share(4.0, 4.0, 4.0, true), 0.5);
        assert_eq!(bounds([].into_iter(), true), (0.0, 1.0));
    }
}
