//! May it come in? Decided from the head alone: method, size, drain, CORS preflight.

use super::{Exchange, Phase, Step};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::grpc;
use crate::limits;
use crate::snapshot::Dialect;
use wire::{Body, Method, Name};

impl Engine {
    pub(crate) fn gate(&mut self, exchange: &mut Exchange) -> Step {
        exchange.dialect = super::reply::dialect_of(&exchange.head);
        if exchange.dialect == Dialect::Grpc {
            let timeout = exchange.head.fields.find(Name::GrpcTimeout);
            exchange.time_limit_ns = timeout.and_then(grpc::timeout_ns).unwrap_or(0);
        }
        if exchange.admin {
            return self.gate_admin(exchange);
        }
        if self.draining.is_some() && self.drain_cut {
            return Step::Fail(Failure::new(
                FailureKind::Draining,
                "this gateway shuts down",
            ));
        }
        if let Some(answered) = self.preflight(exchange) {
            return answered;
        }
        match exchange.head.method {
            Method::Get
            | Method::Head
            | Method::Post
            | Method::Put
            | Method::Delete
            | Method::Patch
            | Method::Options => {}
            _ => {
                let why = "this method is not served";
                return Step::Fail(Failure::new(FailureKind::MethodNotAllowed, why));
            }
        }
        Step::Next(Phase::Match)
    }

    fn gate_admin(&mut self, exchange: &mut Exchange) -> Step {
        let too_large = match exchange.head.body {
            Body::Length(length) => length > limits::ADMIN_BODY_BYTES_MAX as u64,
            _ => exchange.body.received > limits::ADMIN_BODY_BYTES_MAX as u64,
        };
        if too_large {
            return Step::Fail(Failure::new(FailureKind::BodyTooLarge, "an admin request"));
        }
        self.admin(exchange)
    }

    /// A CORS preflight is answered here when the listener has rules (Fetch §4.8).
    fn preflight(&mut self, exchange: &mut Exchange) -> Option<Step> {
        exchange.listener.as_ref()?.plan.cors.as_ref()?;
        let fields = &exchange.head.fields;
        let asks = exchange.head.method == Method::Options
            && fields.find(Name::Origin).is_some()
            && fields.find(Name::AccessControlRequestMethod).is_some();
        if !asks {
            return None;
        }
        self.reply(exchange, 204, crate::heads::Extra::None, None, b"");
        Some(Step::Done)
    }
}
