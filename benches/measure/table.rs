//! Markdown tables that line up in a terminal too, and the numbers in them.

/// A table whose first column is words, the others numbers.
pub struct Table(Vec<Vec<String>>);

impl Table {
    pub fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|word| (*word).into()).collect()])
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// Line by line.
    pub fn lines(&self) -> Vec<String> {
        let columns = self.0[0].len();
        let length = |cell: &String| cell.chars().count();
        let width = |i: usize| self.0.iter().map(|row| length(&row[i])).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cell = |(i, cell): (usize, &String)| match (i, widths[i]) {
                (0, width) => format!("| {cell:width$} |"),
                (_, width) => format!(" {cell:>width$} |"),
            };
            row.iter().enumerate().map(cell).collect::<String>()
        };
        let rule = |(i, width): (usize, &usize)| match i {
            0 => format!("|{}|", "-".repeat(width + 2)),
            _ => format!("{}:|", "-".repeat(width + 1)),
        };
        let mut lines: Vec<String> = self.0.iter().map(line).collect();
        lines.insert(1, widths.iter().enumerate().map(rule).collect());
        lines
    }
}

/// The value that this share of the values is below; 0.5 is the median.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = share * last as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    values[low] + (values[high] - values[low]) * (place - low as f64)
}

/// Seconds, with three digits that mean something.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 10.0 => format!("{s:.1} s"),
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 0.1 => format!("{:.0} ms", s * 1e3),
        s => format!("{:.1} ms", s * 1e3),
    }
}

/// `times` in units of `of`, both round by round: the median, and the middle half of the rounds.
pub fn ratio(times: &[f64], of: &[f64]) -> String {
    let ratios: Vec<f64> = times.iter().zip(of).map(|(a, b)| a / b).collect();
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&ratios, share));
    match ratios.len() {
        1 => format!("{middle:.2}"),
        _ => format!("{middle:.2} ({low:.2} to {high:.2})"),
    }
}

/// Bytes in MiB.
pub fn mebi(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
