//! The three primitives by themselves: the very code that the data plane runs.

use std::sync::Mutex;

use engine::channel;
use engine::select::WeightedPicker;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use wire::h1::{Event, RequestReader};
use wire::{Body, Limits, Version};

use crate::guard::{guarded, lock, value_error};

/// One parsed request head.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct RequestHead {
    head: wire::RequestHead,
}

#[pymethods]
impl RequestHead {
    #[getter]
    fn method(&self) -> &str {
        self.head.method.as_str()
    }

    #[getter]
    fn target(&self) -> String {
        String::from_utf8_lossy(self.head.target()).into_owned()
    }

    #[getter]
    fn authority(&self) -> String {
        String::from_utf8_lossy(self.head.authority()).into_owned()
    }

    #[getter]
    fn version(&self) -> (u8, u8) {
        match self.head.version {
            Version::Http10 => (1, 0),
            Version::Http11 => (1, 1),
            Version::Http2 => (2, 0),
        }
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Vec<(String, Bound<'py, PyBytes>)> {
        let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = self.head.fields.iter();
        fields
            .map(|field| (name(field.name), PyBytes::new(py, field.value)))
            .collect()
    }

    #[getter]
    fn body(&self) -> String {
        match self.head.body {
            Body::None => "none".to_owned(),
            Body::Length(length) => length.to_string(),
            Body::Chunked | Body::UntilClose => "chunked".to_owned(),
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "<RequestHead {} {}>",
            self.head.method.as_str(),
            self.target()
        )
    }
}

#[pyfunction]
pub(crate) fn parse_request_head(data: &[u8]) -> PyResult<Option<(RequestHead, usize)>> {
    guarded(|| {
        let mut head = wire::RequestHead::new();
        let mut rest = data;
        let mut reader = RequestReader::new(Limits::default());
        match reader.next(&mut rest, &mut head).map_err(value_error)? {
            Some(Event::Head) => Ok(Some((RequestHead { head }, data.len() - rest.len()))),
            Some(_) | None => Ok(None),
        }
    })
}

/// A bounded channel with three priority classes.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Channel {
    inner: Mutex<channel::Channel<Py<PyAny>>>,
}

#[pymethods]
impl Channel {
    #[new]
    #[pyo3(signature = (capacity = 128, bytes_max = 0))]
    fn new(capacity: usize, bytes_max: u64) -> Self {
        let bytes_max = if bytes_max == 0 { u64::MAX } else { bytes_max };
        Self {
            inner: Mutex::new(channel::Channel::new(capacity, bytes_max)),
        }
    }

    #[pyo3(signature = (item, *, priority = 1, size = 0))]
    fn try_send(&self, item: Py<PyAny>, priority: u8, size: u64) -> PyResult<bool> {
        guarded(|| {
            if usize::from(priority) >= channel::CLASSES {
                return Err(value_error("priority is 0 (high), 1 (normal) or 2 (low)"));
            }
            let sent = lock(&self.inner).try_send_at(priority, None, item, size);
            Ok(sent.is_ok())
        })
    }

    fn try_recv(&self) -> PyResult<Option<Py<PyAny>>> {
        guarded(|| Ok(lock(&self.inner).try_recv()))
    }

    fn __len__(&self) -> usize {
        lock(&self.inner).depth()
    }

    #[getter]
    fn capacity(&self) -> usize {
        lock(&self.inner).capacity()
    }

    #[getter]
    fn refused(&self) -> u64 {
        lock(&self.inner).shed_total()
    }

    #[getter]
    fn high_water(&self) -> usize {
        lock(&self.inner).high_water()
    }

    /// Least depth of each bucket and how many sends met it.
    fn depth_histogram(&self) -> Vec<(u64, u64)> {
        let inner = lock(&self.inner);
        let least = |bucket: usize| {
            if bucket == 0 {
                0
            } else {
                1_u64 << (bucket - 1)
            }
        };
        inner
            .depth_histogram()
            .iter()
            .enumerate()
            .map(|(n, &count)| (least(n), count))
            .collect()
    }
}

/// Smooth weighted round-robin.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Picker {
    inner: Mutex<WeightedPicker>,
    weights: Mutex<Vec<u32>>,
}

#[pymethods]
impl Picker {
    #[new]
    fn new(weights: Vec<u32>) -> PyResult<Self> {
        if weights.is_empty() {
            return Err(value_error("at least one weight is needed"));
        }
        let inner = Mutex::new(WeightedPicker::new(&weights));
        Ok(Self {
            inner,
            weights: Mutex::new(weights),
        })
    }

    #[pyo3(signature = (excluded = Vec::new()))]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "extracted from a Python list"
    )]
    fn pick(&self, excluded: Vec<u32>) -> PyResult<Option<usize>> {
        guarded(|| Ok(lock(&self.inner).pick_except(&excluded)))
    }

    /// A new weight begins a new round.
    fn set_weight(&self, index: usize, weight: u32) -> PyResult<()> {
        guarded(|| {
            let mut weights = lock(&self.weights);
            let count = weights.len();
            let Some(old) = weights.get_mut(index) else {
                return Err(value_error(format!(
                    "there is no index {index}: {count} weights"
                )));
            };
            *old = weight;
            *lock(&self.inner) = WeightedPicker::new(&weights);
            Ok(())
        })
    }
}
