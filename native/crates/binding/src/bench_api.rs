//! Load generator, simulated engine and relay: JSON options in, JSON out.

use std::sync::Mutex;

use bench::{Part, engine, load, relay, report};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::guard::{guarded, lock, start_error, value_error};

#[pyfunction]
pub(crate) fn bench_run<'py>(
    py: Python<'py>,
    options: &[u8],
    progress: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyBytes>> {
    guarded(|| {
        let options: load::Options = serde_json::from_slice(options).map_err(value_error)?;
        let progress = progress.unbind();
        let mut raised = None;
        let report = py.detach(|| {
            load::run(&options, &mut |now| {
                // Between two calls Python does nothing, and the load goes on without the GIL.
                let called = Python::attach(|py| {
                    py.check_signals()?;
                    let cells = serde_json::to_vec(now).unwrap_or_default();
                    progress
                        .call1(py, (PyBytes::new(py, &cells),))?
                        .extract::<bool>(py)
                });
                called.unwrap_or_else(|error: PyErr| {
                    raised = Some(error);
                    false
                })
            })
        });
        if let Some(error) = raised {
            return Err(error);
        }
        let report = report.map_err(start_error)?;
        let body = serde_json::to_vec(&report).map_err(value_error)?;
        Ok(PyBytes::new(py, &body))
    })
}

fn parse(report: &[u8]) -> PyResult<report::Report> {
    serde_json::from_slice(report).map_err(value_error)
}

#[pyfunction]
pub(crate) fn bench_text(report: &[u8]) -> PyResult<String> {
    guarded(|| Ok(report::text_table(&parse(report)?)))
}

#[pyfunction]
pub(crate) fn bench_html(report: &[u8]) -> PyResult<String> {
    guarded(|| Ok(report::html(&parse(report)?)))
}

/// A simulated engine or a byte relay on a thread of its own.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Running {
    part: Mutex<Box<dyn Part>>,
}

impl Running {
    fn of(part: impl Part + 'static) -> Self {
        Self {
            part: Mutex::new(Box::new(part)),
        }
    }
}

#[pymethods]
impl Running {
    fn addresses(&self) -> Vec<String> {
        let part = lock(&self.part);
        part.addresses().iter().map(ToString::to_string).collect()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| Ok(PyBytes::new(py, lock(&self.part).stats().as_bytes())))
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        guarded(|| {
            py.detach(|| lock(&self.part).stop());
            Ok(())
        })
    }
}

#[pyfunction]
pub(crate) fn bench_engine(options: &[u8]) -> PyResult<Running> {
    guarded(|| {
        let options: engine::Options = serde_json::from_slice(options).map_err(value_error)?;
        Ok(Running::of(engine::start(options).map_err(start_error)?))
    })
}

#[pyfunction]
pub(crate) fn bench_relay(options: &[u8]) -> PyResult<Running> {
    guarded(|| {
        let options: relay::Options = serde_json::from_slice(options).map_err(value_error)?;
        Ok(Running::of(relay::start(&options).map_err(start_error)?))
    })
}
