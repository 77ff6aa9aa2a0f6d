//! A question of the data plane, as Python sees it.

use engine::ids::AskId;
use engine::output::Question;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// One question. Answered once, with `Core.answer`.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Ask {
    pub(crate) id: AskId,
    question: Question,
}

impl Ask {
    pub(crate) fn new(id: AskId, question: Question) -> Self {
        Self { id, question }
    }
}

#[pymethods]
impl Ask {
    #[getter]
    fn kind(&self) -> &'static str {
        match self.question {
            Question::Admin { .. } => "admin",
            Question::Models { .. } => "models",
        }
    }

    #[getter]
    fn method(&self) -> &str {
        match &self.question {
            Question::Admin { method, .. } => method,
            Question::Models { .. } => "GET",
        }
    }

    #[getter]
    fn target(&self) -> &str {
        match &self.question {
            Question::Admin { target, .. } => target,
            Question::Models { .. } => "/v1/models",
        }
    }

    #[getter]
    fn fields<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyBytes>)> {
        match &self.question {
            Question::Admin { fields, .. } => {
                let pair =
                    |(name, value): &(String, Vec<u8>)| (name.clone(), PyBytes::new(py, value));
                fields.iter().map(pair).collect()
            }
            Question::Models { .. } => Vec::new(),
        }
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match &self.question {
            Question::Admin { body, .. } => PyBytes::new(py, body),
            Question::Models { .. } => PyBytes::new(py, b""),
        }
    }

    #[getter]
    fn loopback(&self) -> bool {
        matches!(self.question, Question::Admin { loopback: true, .. })
    }

    #[getter]
    fn authorization<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let value = match &self.question {
            Question::Admin { fields, .. } => {
                let found = fields.iter().find(|(name, _)| name == "authorization");
                found.map(|(_, value)| value)
            }
            Question::Models { authorization } => authorization.as_ref(),
        };
        value.map(|value| PyBytes::new(py, value))
    }
}
