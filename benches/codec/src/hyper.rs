//! The `h2` crate of hyperium, polled by hand: no runtime, no wakes, nothing that blocks.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    Done,
    case::{CONNECTION_WINDOW, RESPONSE, Request, STREAMS, TOKEN, WARM},
    cpu_ns,
};

type Bytestream = Rc<RefCell<VecDeque<u8>>>;

/// One end of a pipe in memory.
struct Pipe {
    from: Bytestream,
    to: Bytestream,
}

impl Pipe {
    fn pair() -> (Self, Self) {
        let (up, down) = (Bytestream::default(), Bytestream::default());
        let client = Self {
            from: Rc::clone(&down),
            to: Rc::clone(&up),
        };
        (client, Self { from: up, to: down })
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut from = self.from.borrow_mut();
        if from.is_empty() {
            return Poll::Pending;
        }
        while into.remaining() > 0 && !from.is_empty() {
            let (front, _) = from.as_slices();
            let length = front.len().min(into.remaining());
            into.put_slice(&front[..length]);
            from.drain(..length);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.to.borrow_mut().extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Both ends, and what they have seen.
struct Ends {
    context: Context<'static>,
    send: client::SendRequest<Bytes>,
    client: client::Connection<Pipe, Bytes>,
    server: server::Connection<Pipe, Bytes>,
    names: Vec<HeaderName>,
    answer: HeaderMap,
    field_bytes: u64,
    data_bytes: u64,
}

fn ready<T, E: std::fmt::Debug>(polled: Poll<Result<T, E>>) -> Option<T> {
    match polled {
        Poll::Ready(done) => Some(done.expect("both ends keep to the protocol")),
        Poll::Pending => None,
    }
}

impl Ends {
    fn new() -> Self {
        let mut context = Context::from_waker(Waker::noop());
        let (near, far) = Pipe::pair();
        let mut builder = client::Builder::new();
        builder
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS);
        let connecting = builder.handshake::<_, Bytes>(near);
        let accepting = server::Builder::new()
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS)
            .handshake::<_, Bytes>(far);
        let (mut connecting, mut accepting) = (pin!(connecting), pin!(accepting));
        let (send, client) = ready(connecting.as_mut().poll(&mut context)).expect("at once");
        let server = ready(accepting.as_mut().poll(&mut context)).expect("the preface is there");
        let answer = RESPONSE.iter().map(|(_, name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let mut ends = Self {
            context,
            send,
            client,
            server,
            names: Vec::new(),
            answer: answer.collect(),
            field_bytes: 0,
            data_bytes: 0,
        };
        ends.client_turn();
        assert!(ends.accept(false).is_none());
        ends.client_turn();
        ends
    }

    fn client_turn(&mut self) {
        let polled = Pin::new(&mut self.client).poll(&mut self.context);
        assert!(ready(polled).is_none(), "the connection has ended");
    }

    /// Takes what the client said; answers a request, if there is one.
    fn accept(&mut self, streaming: bool) -> Option<SendStream<Bytes>> {
        let polled = self.server.poll_accept(&mut self.context);
        let Poll::Ready(Some(asked)) = polled else {
            return None;
        };
        let (request, mut respond) = asked.expect("both ends keep to the protocol");
        let each = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        self.field_bytes += request.headers().iter().map(each).sum::<usize>() as u64;
        let mut response = http::Response::new(());
        *response.headers_mut() = self.answer.clone();
        let sent = respond.send_response(response, !streaming);
        Some(sent.expect("the stream is open"))
    }

    fn ask(&mut self, fields: &Request) -> client::ResponseFuture {
        let [method, scheme, authority, path, fields @ ..] = fields.fields.as_slice() else {
            unreachable!("request.inc begins with four pseudo-header fields");
        };
        if self.names.is_empty() {
            let name = |field: &crate::case::Field| HeaderName::from_static(field.name);
            self.names = fields.iter().map(name).collect();
        }
        let uri = http::Uri::builder()
            .scheme(scheme.value.as_slice())
            .authority(authority.value.as_slice())
            .path_and_query(path.value.as_slice())
            .build();
        let mut request = http::Request::new(());
        *request.method_mut() = http::Method::from_bytes(&method.value).expect("a method");
        *request.uri_mut() = uri.expect("a target");
        for (name, field) in self.names.iter().zip(fields) {
            let mut value = HeaderValue::from_bytes(&field.value).expect("a value");
            value.set_sensitive(field.name == "authorization");
            request.headers_mut().insert(name.clone(), value);
        }
        self.send
            .send_request(request, true)
            .expect("a stream is free")
            .0
    }

    /// A request and its answer.
    fn exchange(&mut self, request: &Request) {
        let mut answer = self.ask(request);
        self.client_turn();
        assert!(self.accept(false).is_some());
        assert!(self.accept(false).is_none());
        self.client_turn();
        let polled = Pin::new(&mut answer).poll(&mut self.context);
        assert!(ready(polled).expect("it came").status().is_success());
    }
}

pub fn tokens(count: u64) -> Done {
    let mut ends = Ends::new();
    let mut request = Request::new();
    let mut answers = Vec::new();
    for number in 0..u64::from(STREAMS) {
        request.number(number);
        answers.push(ends.ask(&request));
    }
    ends.client_turn();
    let mut sending: Vec<SendStream<Bytes>> = Vec::new();
    while let Some(stream) = ends.accept(true) {
        sending.push(stream);
    }
    ends.client_turn();
    let context = &mut ends.context;
    let mut receiving: Vec<RecvStream> = answers
        .iter_mut()
        .map(|answer| {
            ready(Pin::new(answer).poll(context))
                .expect("it came")
                .into_body()
        })
        .collect();
    let token = Bytes::from_static(&TOKEN);
    let began_ns = cpu_ns();
    let mut sent = 0;
    while sent < count {
        for stream in &mut sending {
            stream.send_data(token.clone(), false).expect("open");
        }
        sent += sending.len() as u64;
        assert!(ends.accept(true).is_none());
        ends.client_turn();
        for stream in &mut receiving {
            while let Poll::Ready(Some(data)) = stream.poll_data(&mut ends.context) {
                let data = data.expect("both ends keep to the protocol");
                ends.data_bytes += data.remaining() as u64;
                let release = stream.flow_control().release_capacity(data.len());
                release.expect("no more than came");
            }
        }
        ends.client_turn();
    }
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: ends.data_bytes,
        field_bytes: ends.field_bytes,
    }
}

pub fn steady(count: u64) -> Done {
    let mut ends = Ends::new();
    let mut request = Request::new();
    let mut began_ns = 0;
    for number in 0..count + WARM {
        if number == WARM {
            began_ns = cpu_ns();
        }
        request.number(number);
        ends.exchange(&request);
    }
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: 0,
        field_bytes: ends.field_bytes,
    }
}

pub fn first(count: u64, asks: bool) -> Done {
    let mut request = Request::new();
    let mut field_bytes = 0;
    let began_ns = cpu_ns();
    for number in 0..count {
        let mut ends = Ends::new();
        if asks {
            request.number(number);
            ends.exchange(&request);
        }
        field_bytes += ends.field_bytes;
    }
    Done {
        ns: cpu_ns() - began_ns,
        data_bytes: 0,
        field_bytes,
    }
}
