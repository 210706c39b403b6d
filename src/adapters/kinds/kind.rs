//! What a kind of adapter is called.

/// A kind, for people and for other tools. Each file of a kind has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    label: &'static str,
    algorithm: Option<&'static str>,
}

impl Kind {
    /// `algorithm`: LyCORIS' word for it, where a network of kohya's own scripts isn't what reads it.
    pub const fn new(label: &'static str, algorithm: Option<&'static str>) -> Self {
        Self { label, algorithm }
    }

    /// For people.
    pub fn label(self) -> &'static str {
        self.label
    }

    /// LyCORIS' `algo`.
    pub fn algorithm(self) -> Option<&'static str> {
        self.algorithm
    }
}
