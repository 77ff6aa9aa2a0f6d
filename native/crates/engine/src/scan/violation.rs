//! What can be wrong with a scanned body.
//!
//! **Invariant:** the first fault found is the one that is told, at any chunking.

/// Why a body is not one that can be routed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanViolation {
    /// Two `model` keys: which one the engine takes depends on its parser.
    DuplicateModel,
    /// Two `stream` keys.
    DuplicateStream,
    /// `model` spelt with escapes: a filter elsewhere may not see it.
    EscapedModelKey,
    /// `model` is no string, or not UTF-8.
    ModelNotString,
    /// `model` is longer than any model name.
    ModelTooLong,
    /// The body does not begin with an object.
    NotJson,
    /// The body breaks the JSON grammar, or goes on behind its object.
    Malformed,
    /// The body does not begin with the boundary that its `content-type` gives.
    NotForm,
    /// Parsers of forms do not agree on this one.
    AmbiguousForm,
    /// Objects and arrays are nested beyond what an engine reads.
    TooDeep,
}

impl ScanViolation {
    /// Whether the body shows that the engine may read another `model` or `stream` out of the same
    /// bytes than we do: no route takes such a body. Other faults matter only to a route that must
    /// read the body.
    pub fn is_ambiguous(self) -> bool {
        matches!(
            self,
            Self::DuplicateModel
                | Self::DuplicateStream
                | Self::EscapedModelKey
                | Self::AmbiguousForm
        )
    }

    /// A clause for the error message.
    pub fn why(self) -> &'static str {
        match self {
            Self::DuplicateModel => "`model` is given twice",
            Self::DuplicateStream => "`stream` is given twice",
            Self::EscapedModelKey => "the key `model` is written with escapes",
            Self::ModelNotString => "`model` is not a string",
            Self::ModelTooLong => "`model` is longer than 512 bytes",
            Self::NotJson => "the body is not a JSON object",
            Self::Malformed => "the body is not valid JSON",
            Self::NotForm => "the body does not begin with its form's boundary",
            Self::AmbiguousForm => "the form can be read in more than one way",
            Self::TooDeep => "the body is nested more than 128 levels deep",
        }
    }
}
