//! Requests that the control plane answers: the admin listener and merged model lists.

use super::{Exchange, Phase, Step};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::grpc::{self, Health};
use crate::heads::Extra;
use crate::ids::AskId;
use crate::input::Answer;
use crate::output::{Output, Question};
use crate::peer::Said;
use crate::snapshot::Dialect;
use wire::{Fields, Method, Name};

impl Engine {
    /// `/healthz` and `/readyz` are answered here (a stalled interpreter must not fail liveness).
    pub(crate) fn admin(&mut self, exchange: &mut Exchange) -> Step {
        let get = matches!(exchange.head.method, Method::Get | Method::Head);
        if exchange.dialect == Dialect::Grpc {
            return self.grpc_health(exchange);
        }
        match exchange.head.path() {
            b"/healthz" | b"/livez" if get => {
                self.reply(exchange, 200, Extra::None, Some("text/plain"), b"ok\n");
                Step::Done
            }
            b"/readyz" if get => {
                if self.health() == Health::Serving {
                    self.reply(exchange, 200, Extra::None, Some("text/plain"), b"ready\n");
                } else {
                    self.reply(
                        exchange,
                        503,
                        Extra::None,
                        Some("text/plain"),
                        b"not ready\n",
                    );
                }
                Step::Done
            }
            _ if !exchange.body.complete && exchange.head.body != wire::Body::None => {
                self.send_continue(exchange);
                Step::Wait
            }
            _ => self.ask_admin(exchange),
        }
    }

    /// `grpc.health.v1`, answered here for the same reason.
    fn grpc_health(&mut self, exchange: &mut Exchange) -> Step {
        let watch = match exchange.head.path() {
            b"/grpc.health.v1.Health/Check" => false,
            b"/grpc.health.v1.Health/Watch" => true,
            _ => {
                let why = "the admin listener serves grpc.health.v1.Health";
                return Step::Fail(Failure::new(FailureKind::NoRoute, why));
            }
        };
        if !exchange.body.complete {
            return Step::Wait;
        }
        let known = grpc::asks_for_all(&exchange.body.held);
        if watch {
            return self.watch(exchange, known);
        }
        let mut status = Fields::new();
        if !known {
            status.push(b"grpc-status", grpc::NOT_FOUND);
            return self.grpc_answer(exchange, b"", status);
        }
        status.push(b"grpc-status", b"0");
        self.grpc_answer(exchange, &self.health().message(), status)
    }

    fn grpc_answer(&mut self, exchange: &mut Exchange, message: &[u8], status: Fields) -> Step {
        exchange.response.trailers = Some(Box::new(status));
        self.grpc_head(exchange);
        self.client_body(exchange, message);
        self.end_response(exchange, true);
        self.finish(exchange);
        Step::Done
    }

    /// The head of an answer of ours that has messages.
    pub(super) fn grpc_head(&mut self, exchange: &mut Exchange) {
        exchange.response.status = 200;
        exchange.response.head_committed = true;
        let said = Said::Reply {
            status: 200,
            extra: Extra::None,
            content_type: Some("application/grpc"),
            length: None,
        };
        self.client_head(exchange, said, false);
    }

    fn ask_admin(&mut self, exchange: &mut Exchange) -> Step {
        let head = &exchange.head;
        let question = Question::Admin {
            method: head.method.as_str().to_owned(),
            target: String::from_utf8_lossy(head.target()).into_owned(),
            fields: head
                .fields
                .iter()
                .map(|f| {
                    (
                        String::from_utf8_lossy(f.name).into_owned(),
                        f.value.to_vec(),
                    )
                })
                .collect(),
            body: std::mem::take(&mut exchange.body.held),
            loopback: exchange.peer.is_none_or(|p| p.is_loopback()),
        };
        self.ask(exchange, question)
    }

    /// `GET /v1/models` over several pools.
    pub(crate) fn ask_models(&mut self, exchange: &mut Exchange) -> Step {
        let authorization = exchange
            .head
            .fields
            .find(Name::Authorization)
            .map(<[u8]>::to_vec);
        self.ask(exchange, Question::Models { authorization })
    }

    fn ask(&mut self, exchange: &mut Exchange, question: Question) -> Step {
        let id = AskId {
            worker: self.worker,
            exchange: exchange.id,
        };
        self.outputs.push_back(Output::Ask(id, question));
        exchange.marks.dispatched_ns = self.now.mono_ns;
        exchange.phase = Phase::Asked;
        Step::Wait
    }

    pub(crate) fn control_answered(&mut self, exchange: &mut Exchange, answer: &Answer) {
        if exchange.phase != Phase::Asked {
            return;
        }
        if answer.status == 0 {
            let failure = Failure::new(FailureKind::ControlTimeout, "the control plane is busy");
            return self.fail(exchange, failure);
        }
        let extra = Extra::Fields(&answer.fields);
        self.reply(exchange, answer.status, extra, None, &answer.body);
    }
}
