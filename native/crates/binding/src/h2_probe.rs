//! One end of HTTP/2, and one pair of HPACK tables, in memory: the very code that the data plane
//! runs, for tests that compare it with other implementations.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use wire::h2::{Config, Connection, ErrorCode, Event, Heads, Role};
use wire::hpack::{Decoder, Encoder, Pseudo};
use wire::{Fields, Name};

use crate::guard::{guarded, lock, value_error};

/// Names and values, as Python has them.
type Pairs<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>;

type Decoded<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, bool);

struct End {
    connection: Connection,
    heads: Heads,
    client: bool,
    /// Read, and not yet taken: the front of a frame.
    input: Vec<u8>,
    output: Vec<u8>,
    closed: bool,
}

/// One end of a connection.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct H2Probe {
    end: Mutex<End>,
}

#[pymethods]
impl H2Probe {
    #[new]
    #[pyo3(signature = (*, client))]
    fn new(client: bool) -> Self {
        let role = if client { Role::Client } else { Role::Server };
        let mut output = Vec::new();
        let connection = Connection::new(role, &Config::default(), &mut output);
        let end = Mutex::new(End {
            connection,
            heads: Heads::default(),
            client,
            input: Vec::new(),
            output,
            closed: false,
        });
        Self { end }
    }

    fn receive<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        guarded(|| {
            let mut end = lock(&self.end);
            let end = &mut *end;
            if end.closed {
                return Ok(Vec::new());
            }
            end.input.extend_from_slice(data);
            let mut rest = end.input.as_slice();
            let mut events = Vec::new();
            end.connection.begin(0);
            loop {
                let next = end
                    .connection
                    .next(&mut rest, &mut end.heads, &mut end.output);
                match next {
                    Ok(Some(event)) => events.push(told(py, event, &end.heads, end.client)?),
                    Ok(None) => break,
                    Err(closing) => {
                        end.closed = true;
                        let said = ("closing", closing.code.number(), closing.cause.label());
                        events.push(said.into_pyobject(py)?);
                        rest = &[];
                        break;
                    }
                }
            }
            let left = rest.len();
            end.input.drain(..end.input.len() - left);
            Ok(events)
        })
    }

    fn sent<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let mut end = lock(&self.end);
        let end = &mut *end;
        end.connection.flush(&mut end.output);
        PyBytes::new(py, &std::mem::take(&mut end.output))
    }

    fn consume(&self, stream: u32, credit: u32) {
        let mut end = lock(&self.end);
        let end = &mut *end;
        end.connection.consumed(stream, credit, &mut end.output);
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands arguments over by value"
    )]
    #[pyo3(signature = (stream, status, fields, *, end))]
    fn respond(&self, stream: u32, status: u16, fields: Pairs<'_>, end: bool) {
        let mut held = lock(&self.end);
        let held = &mut *held;
        let mut head = held.connection.head(stream, &mut held.output);
        head.status(status);
        for (name, value) in &fields {
            let name = name.as_bytes();
            head.field(Name::from_bytes(name), name, value.as_bytes());
        }
        head.finish(end);
    }

    /// A request to `http://probe.test` of a client; None at a limit on streams.
    #[pyo3(signature = (method, target, *, end))]
    fn request(&self, method: &[u8], target: &[u8], end: bool) -> Option<u32> {
        let mut held = lock(&self.end);
        let held = &mut *held;
        let stream = held.connection.open()?;
        let mut head = held.connection.head(stream, &mut held.output);
        head.request(method, b"http", b"probe.test", target, None);
        head.finish(end);
        Some(stream)
    }

    #[pyo3(signature = (stream, content, *, end))]
    fn data(&self, stream: u32, content: &[u8], end: bool) {
        let mut held = lock(&self.end);
        let held = &mut *held;
        held.connection.data(stream, content, end, &mut held.output);
    }

    fn cancel(&self, stream: u32) {
        let mut held = lock(&self.end);
        let held = &mut *held;
        held.connection
            .reset(stream, ErrorCode::Cancel, &mut held.output);
    }

    fn forget(&self, stream: u32) {
        let mut held = lock(&self.end);
        let held = &mut *held;
        held.connection.forget(stream, &mut held.output);
    }

    fn queued(&self, stream: u32) -> usize {
        lock(&self.end).connection.queued(stream)
    }

    fn streams(&self) -> usize {
        lock(&self.end).connection.streams()
    }
}

fn told<'py>(
    py: Python<'py>,
    event: Event<'_>,
    heads: &Heads,
    client: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::Head { id, end, .. } if client => {
            let head = &heads.response;
            ("head", id, head.status, pairs(py, &head.fields), end).into_pyobject(py)
        }
        Event::Head { id, end, .. } => {
            let head = &heads.request;
            let bytes = |text: &[u8]| PyBytes::new(py, text);
            let first = (
                bytes(head.method.as_str().as_bytes()),
                bytes(head.authority()),
                bytes(head.target()),
            );
            ("head", id, first, pairs(py, &head.fields), end).into_pyobject(py)
        }
        Event::Bad {
            id,
            violation,
            reset,
        } => ("bad", id, violation.why, reset).into_pyobject(py),
        Event::Interim { id, .. } => ("interim", id, heads.response.status).into_pyobject(py),
        Event::Data {
            id,
            bytes,
            credit,
            end,
            ..
        } => ("data", id, PyBytes::new(py, bytes), credit, end).into_pyobject(py),
        Event::Trailers { id, fields, .. } => {
            ("trailers", id, pairs(py, &fields)).into_pyobject(py)
        }
        Event::End { id, .. } => ("end", id).into_pyobject(py),
        Event::Reset {
            id, code, by_us, ..
        } => ("reset", id, code, by_us.map(|violation| violation.why)).into_pyobject(py),
        Event::Goaway { last, code } => ("goaway", last, code).into_pyobject(py),
        Event::Settings => ("settings",).into_pyobject(py),
    }
}

fn pairs<'py>(py: Python<'py>, fields: &Fields) -> Pairs<'py> {
    let bytes = |text: &[u8]| PyBytes::new(py, text);
    fields
        .iter()
        .map(|field| (bytes(field.name), bytes(field.value)))
        .collect()
}

struct Tables {
    encoder: Encoder,
    decoder: Decoder,
}

/// The two tables of one end, of 4096 bytes each.
#[pyclass(frozen, module = "fastproxy._native")]
pub(crate) struct Hpack {
    tables: Mutex<Tables>,
}

#[pymethods]
impl Hpack {
    #[new]
    fn new() -> Self {
        let tables = Mutex::new(Tables {
            encoder: Encoder::new(),
            decoder: Decoder::new(4096),
        });
        Self { tables }
    }

    fn resize(&self, peer_max_bytes: usize) {
        lock(&self.tables).encoder.resize(peer_max_bytes);
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "PyO3 hands arguments over by value"
    )]
    fn encode<'py>(&self, py: Python<'py>, fields: Pairs<'py>) -> PyResult<Bound<'py, PyBytes>> {
        guarded(|| {
            let mut out = Vec::new();
            let encoder = &mut lock(&self.tables).encoder;
            encoder.begin(&mut out);
            for (name, value) in &fields {
                let (name, value) = (name.as_bytes(), value.as_bytes());
                match pseudo(name) {
                    Some(known) => encoder.pseudo(&mut out, known, value),
                    None if name == b":status" => {
                        let status = String::from_utf8_lossy(value).parse();
                        encoder.status(&mut out, status.map_err(value_error)?);
                    }
                    None => encoder.field(&mut out, Name::from_bytes(name), name, value),
                }
            }
            Ok(PyBytes::new(py, &out))
        })
    }

    /// Name, value, and whether the field is never to be indexed (RFC 7541 §6.2.3).
    fn decode<'py>(&self, py: Python<'py>, block: &[u8]) -> PyResult<Vec<Decoded<'py>>> {
        guarded(|| {
            let mut fields = Vec::new();
            let each = |name: &[u8], value: &[u8], never: bool| {
                fields.push((PyBytes::new(py, name), PyBytes::new(py, value), never));
            };
            let decoded = lock(&self.tables).decoder.decode(block, each);
            decoded.map_err(value_error)?;
            Ok(fields)
        })
    }
}

fn pseudo(name: &[u8]) -> Option<Pseudo> {
    match name {
        b":method" => Some(Pseudo::Method),
        b":scheme" => Some(Pseudo::Scheme),
        b":authority" => Some(Pseudo::Authority),
        b":path" => Some(Pseudo::Path),
        b":protocol" => Some(Pseudo::Protocol),
        _ => None,
    }
}
