//! The one error type. Every variant names what a person needs to act: the file, the key, what is
//! wrong with it and the remedy.

/// A result with Lorakeet's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with what a user brings: files, settings, the device.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// A file can't be used as a whole.
    #[error("{file}: {problem}. {remedy}")]
    File {
        /// The file's name as the user knows it.
        file: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it, as a full sentence.
        remedy: String,
    },
    /// One tensor, metadata entry or config field of a file is wrong.
    #[error("{file}: {key}: {problem}. {remedy}")]
    Key {
        /// The file's name as the user knows it.
        file: String,
        /// The tensor's name or the config's field.
        key: String,
        /// What is wrong with it, with shapes where shapes matter.
        problem: String,
        /// What to do about it, as a full sentence.
        remedy: String,
    },
    /// A setting is out of range or names nothing we know.
    #[error("{name}: {problem}. {remedy}")]
    Setting {
        /// The setting's name, as the page and the command line show it.
        name: String,
        /// What is wrong with the value.
        problem: String,
        /// What to do about it, as a full sentence.
        remedy: String,
    },
    /// What was asked for is more than the memory there is for it.
    #[error("{name}: {problem}. {remedy}")]
    Memory {
        /// What needs it: the model's weights, a picture's size, a run's batch.
        name: String,
        /// What it takes, and what there is.
        problem: String,
        /// What would fit, as a full sentence.
        remedy: String,
    },
    /// The device (GPU, driver) failed.
    #[error("{problem}. {remedy}")]
    Device {
        /// What happened.
        problem: String,
        /// What to do about it, as a full sentence.
        remedy: String,
    },
}

/// What a file says, for people: one line of at most `most` characters and an ellipsis, with nothing
/// in it that would move a terminal's cursor or turn the direction of writing.
pub fn shown(text: &str, most: usize) -> String {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200E}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    let mut characters = text.chars();
    let mut line: String =
        characters.by_ref().take(most).map(|c| if unseen(c) { '\u{FFFD}' } else { c }).collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

impl Error {
    /// Which sort of thing went wrong, for programs: stable, unlike the words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Key { .. } => "key",
            Self::Setting { .. } => "setting",
            Self::Memory { .. } => "memory",
            Self::Device { .. } => "device",
        }
    }

    /// A whole file can't be used.
    pub fn file(
        file: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (file, problem) = (shown(&file.into(), 400), shown(&problem.into(), 4000));
        Self::File { file, problem, remedy: remedy.into() }
    }

    /// One key of a file is wrong.
    pub fn key(
        file: impl Into<String>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (file, problem) = (shown(&file.into(), 400), shown(&problem.into(), 4000));
        Self::Key { file, key: shown(&key.into(), 400), problem, remedy: remedy.into() }
    }

    /// A setting is out of range or unknown.
    pub fn setting(
        name: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Setting { name: name.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// There isn't the memory for it.
    pub fn memory(
        name: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Memory { name: name.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The device failed.
    pub fn device(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Device { problem: problem.into(), remedy: remedy.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_one_harmless_line() {
        assert_eq!(shown("plain é 猫", 9), "plain é 猫");
        assert_eq!(shown("plain é 猫", 4), "plai…");
        assert_eq!(shown("\u{1b}[2Ja\nb\u{202e}c", 99), "\u{FFFD}[2Ja\u{FFFD}b\u{FFFD}c");
        let error =
            Error::key("a\u{1b}]0;x\u{7}.safetensors", "k\r", "is\nwrong", "Look").to_string();
        assert!(!error.contains(char::is_control), "{error}");
    }
}
