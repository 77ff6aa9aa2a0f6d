//! What can go wrong before or around a run; each text says what to do about it.
//!
//! Failures of single requests are no errors: they are outcomes, counted in the report.

use std::{fmt, io, path::PathBuf};

/// An error of the bench crate.
#[derive(Debug)]
pub enum Error {
    /// An option holds a value that cannot be used.
    Option {
        /// Name of the option as written in JSON.
        name: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// The JSON of an options object cannot be read.
    Json(serde_json::Error),
    /// An address cannot be parsed or resolved.
    Address {
        /// The text that was given.
        text: String,
        /// What is wrong and what is allowed.
        why: String,
    },
    /// A listener cannot be opened.
    Listen {
        /// The address that was asked for.
        address: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file cannot be read.
    File {
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line of a trace file does not have the expected form.
    Trace {
        /// The file's path.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What was expected.
        why: String,
    },
    /// A call to the operating system that should not fail has failed.
    System {
        /// What was being done.
        what: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option { name, why } => write!(f, "option `{name}`: {why}"),
            Self::Json(source) => {
                write!(f, "the options are not valid: {source}; correct the JSON")
            }
            Self::Address { text, why } => write!(
                f,
                "address `{text}`: {why}; write HOST:PORT, http://HOST:PORT or unix:/PATH"
            ),
            Self::Listen { address, source } => write!(
                f,
                "cannot listen on {address}: {source}; choose a free port \
                (0 picks one) or another path"
            ),
            Self::File { path, source } => {
                write!(
                    f,
                    "cannot read {}: {source}; give the path of a readable file",
                    path.display()
                )
            }
            Self::Trace { path, line, why } => {
                write!(
                    f,
                    "{}:{line}: {why}; correct or drop the line",
                    path.display()
                )
            }
            Self::System { what, source } => write!(
                f,
                "{what} failed: {source}; check the limits of this process (ulimit -n)"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Option { .. } | Self::Address { .. } | Self::Trace { .. } => None,
            Self::Json(source) => Some(source),
            Self::Listen { source, .. }
            | Self::File { source, .. }
            | Self::System { source, .. } => Some(source),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(source: serde_json::Error) -> Self {
        Self::Json(source)
    }
}

/// Names what was being done when the operating system refused.
pub(crate) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::System { what, source }
}
