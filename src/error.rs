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
    /// The device (GPU, driver, memory) failed.
    #[error("{problem}. {remedy}")]
    Device {
        /// What happened.
        problem: String,
        /// What to do about it, as a full sentence.
        remedy: String,
    },
}

impl Error {
    /// A whole file can't be used.
    pub fn file(
        file: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::File { file: file.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// One key of a file is wrong.
    pub fn key(
        file: impl Into<String>,
        key: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Key {
            file: file.into(),
            key: key.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }

    /// A setting is out of range or unknown.
    pub fn setting(
        name: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Setting { name: name.into(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The device failed.
    pub fn device(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Device { problem: problem.into(), remedy: remedy.into() }
    }
}
