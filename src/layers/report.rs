//! What loading a component found.

use super::Storage;
use crate::error::{Error, Result};

/// What loading a component found.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct LoadReport {
    /// The component's name.
    pub component: String,
    /// Tensors that the model asked for and got.
    pub used: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them in the file.
    pub bytes: u64,
    /// Keys that the model needs and the file lacks, with the shape wanted.
    pub missing: Vec<String>,
    /// Keys in the file that the model has no place for.
    pub unused: Vec<String>,
    /// Keys whose shape isn't the model's, with both shapes.
    pub misshapen: Vec<String>,
    /// Keys that hold NaN or infinity.
    pub not_finite: Vec<String>,
    /// What keeping weights in less than the file's precision changed.
    pub rounding: Option<Rounding>,
    /// Weights that were to be halves and stay f32, since a number in them is too large.
    pub wide: Vec<String>,
}

/// What rounding changed, as shares of the weights' root mean square.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Rounding {
    /// Of all rounded weights.
    pub share: f64,
    /// Of the one that it changed most.
    pub largest: f64,
    /// Which that is.
    pub key: String,
    /// Sums of squares, of the weights and of the changes.
    #[serde(skip)]
    sums: [f64; 2],
}

impl Rounding {
    /// Takes in one weight, given the sum of its squares and that of the changes' squares.
    pub(super) fn add(&mut self, key: &str, squares: f64, changed: f64) {
        self.join(&Self { largest: share([squares, changed]), key: key.into(), ..Self::default() });
        self.sums = [self.sums[0] + squares, self.sums[1] + changed];
        self.share = share(self.sums);
    }

    /// Takes in what rounding other weights changed.
    fn join(&mut self, other: &Self) {
        if other.largest > self.largest || self.key.is_empty() {
            (self.largest, self.key) = (other.largest, other.key.clone());
        }
        self.sums = [0, 1].map(|i| self.sums[i] + other.sums[i]);
        self.share = share(self.sums);
    }
}

fn share([squares, changed]: [f64; 2]) -> f64 {
    if squares > 0.0 { (changed / squares).sqrt() } else { 0.0 }
}

/// What a way to keep weights cost a model's precision, as sentences.
pub fn rounding_notes(storage: Storage, reports: &[LoadReport]) -> Vec<String> {
    let mut whole = Rounding::default();
    for report in reports {
        if let Some(rounding) = &report.rounding {
            let key = format!("{} {}", report.component, rounding.key);
            whole.join(&Rounding { key, ..rounding.clone() });
        }
    }
    let mut notes = Vec::new();
    if !whole.key.is_empty() {
        let kept = if storage == Storage::Q8 { "8-bit weights" } else { "Weights in halves" };
        let percent = |share: f64| {
            if share < 1e-3 {
                format!("{:.3} %", 100.0 * share)
            } else {
                format!("{:.1} %", 100.0 * share)
            }
        };
        notes.push(format!(
            "{kept}: {} root mean square error, largest ({}) in {}",
            percent(whole.share),
            percent(whole.largest),
            whole.key
        ));
    }
    let wide: Vec<&String> = reports.iter().flat_map(|report| &report.wide).collect();
    if let Some(first) = wide.first() {
        notes.push(format!(
            "{} weights stay in f32, since they hold numbers too large for halves: {first}{}",
            wide.len(),
            if wide.len() > 1 { " and others" } else { "" }
        ));
    }
    notes
}

impl LoadReport {
    /// An error that names what is wrong, unless every tensor was found, fits and is finite.
    ///
    /// # Errors
    /// Names the file and the first keys at fault.
    pub fn check(&self, file: &str) -> Result<()> {
        let complaint = |what: &str, keys: &[String], remedy: &str| {
            let more = keys.len().saturating_sub(3);
            let shown = keys.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
            Err(Error::file(
                file,
                format!("{} tensors of the {} {what}: {shown}{tail}", keys.len(), self.component),
                remedy,
            ))
        };
        if !self.missing.is_empty() {
            return complaint(
                "are missing",
                &self.missing,
                "The file is incomplete or belongs to another kind of model",
            );
        }
        if !self.misshapen.is_empty() {
            return complaint(
                "have another shape than the config asks for",
                &self.misshapen,
                "Check that config.json and weights belong together",
            );
        }
        if !self.not_finite.is_empty() {
            return complaint(
                "hold NaN or infinity",
                &self.not_finite,
                "The file is broken, perhaps by a merge or conversion: get another copy",
            );
        }
        Ok(())
    }
}
