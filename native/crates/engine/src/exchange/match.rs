//! Which route and pool? Waits for the body's `model` only if a candidate route needs it.

use std::sync::Arc;

use super::{Exchange, Phase, Step};
use crate::engine::Engine;
use crate::error::{Failure, FailureKind};
use crate::snapshot::route::{Model, Verdict};
use crate::snapshot::{Dialect, Route, Snapshot};
use wire::{Body, Method};

impl Engine {
    pub(crate) fn match_route(&mut self, exchange: &mut Exchange) -> Step {
        let in_path = model_in_path(exchange.head.path());
        let model = match (in_path.as_deref(), exchange.scan.model()) {
            (Some(model), _) | (None, Some(model)) => Model::Is(model),
            (None, None) if may_still_come(exchange) => Model::Unknown,
            (None, None) => Model::Absent,
        };
        match find(&self.snapshot, exchange, model) {
            Found::Route(route) => self.take_route(exchange, route),
            Found::Wait => {
                self.send_continue(exchange);
                Step::Wait
            }
            Found::Models => self.ask_models(exchange),
            Found::Nothing { by_model } => Step::Fail(no_route(exchange, by_model)),
        }
    }

    fn take_route(&self, exchange: &mut Exchange, route: Arc<Route>) -> Step {
        // A gRPC client reads nothing else.
        if let (Some(dialect), false) = (route.dialect, exchange.dialect == Dialect::Grpc) {
            exchange.dialect = dialect;
        }
        let too_large = match exchange.head.body {
            Body::Length(length) => length > route.body_bytes_max,
            _ => exchange.body.received > route.body_bytes_max,
        };
        if too_large {
            exchange.route = Some(route);
            return Step::Fail(Failure::new(FailureKind::BodyTooLarge, "the request body"));
        }
        if exchange.head.websocket && !route.websocket {
            let why = "this route serves no WebSocket";
            return Step::Fail(Failure::new(FailureKind::Forbidden, why));
        }
        exchange.class = class_of(exchange, &route);
        exchange.local = self.locals.at_pool(route.pool);
        exchange.pool = self.snapshot.pools.get(route.pool).map(Arc::clone);
        exchange.route_cells = self.locals.route(route.position).map(Arc::clone);
        exchange.route = Some(route);
        Step::Next(Phase::Admit)
    }
}

enum Found {
    Route(Arc<Route>),
    Wait,
    Models,
    Nothing { by_model: bool },
}

fn find(snapshot: &Snapshot, exchange: &Exchange, model: Model<'_>) -> Found {
    let mut by_model = false;
    for route in &snapshot.routes {
        match route.verdict(&exchange.head, model) {
            Verdict::Yes => return Found::Route(Arc::clone(route)),
            Verdict::NeedsModel => return Found::Wait,
            Verdict::No => by_model |= route.wants_model(),
        }
    }
    if exchange.head.method == Method::Get
        && exchange.head.path() == b"/v1/models"
        && snapshot.pools.len() > 1
    {
        return Found::Models;
    }
    match &snapshot.default_route {
        Some(route) => Found::Route(Arc::clone(route)),
        None => Found::Nothing { by_model },
    }
}

/// `GET /v1/models/org%2Fname` names its model in the path.
fn model_in_path(path: &[u8]) -> Option<String> {
    let name = path.strip_prefix(b"/v1/models/")?;
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (hex, tail) = rest.split_at_checked(2)?;
        let hex = std::str::from_utf8(hex).ok()?;
        decoded.push(u8::from_str_radix(hex, 16).ok()?);
        rest = tail;
    }
    (!decoded.is_empty()).then_some(())?;
    String::from_utf8(decoded).ok()
}

/// Whether bytes to come may name a model.
fn may_still_come(exchange: &Exchange) -> bool {
    exchange.scanning
        && !exchange.body.complete
        && !exchange.scan.finished()
        && exchange.scan.violation().is_none()
}

fn no_route(exchange: &Exchange, by_model: bool) -> Failure {
    if exchange.scanning
        && let Some(violation) = exchange.scan.violation()
    {
        return Failure::from(violation);
    }
    if by_model && exchange.scan.model().is_some() {
        return Failure::new(FailureKind::ModelNotFound, "no route serves this model");
    }
    if by_model && exchange.scanning {
        return Failure::new(FailureKind::BadModel, "the request body names no `model`");
    }
    Failure::new(FailureKind::NoRoute, "no route matches this request")
}

/// The route's class; a header or `service_tier` may only lower it.
fn class_of(exchange: &Exchange, route: &Route) -> u8 {
    let asked = route
        .class_header
        .as_ref()
        .and_then(|name| {
            let name = std::str::from_utf8(name).ok()?;
            exchange.head.fields.find_str(name)
        })
        .map_or(0, |value| match value {
            b"low" => 2,
            b"normal" => 1,
            _ => 0,
        });
    let tier = match exchange.scan.service_tier() {
        Some("flex" | "batch" | "bulk" | "low") => 2,
        Some("default" | "standard" | "standard_only" | "normal") => 1,
        _ => 0,
    };
    route
        .class
        .max(asked)
        .max(tier)
        .max(exchange.principal.class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_in_the_path_is_decoded_once() {
        assert_eq!(
            model_in_path(b"/v1/models/org%2Fname").as_deref(),
            Some("org/name")
        );
        assert_eq!(
            model_in_path(b"/v1/models/a%252Fb").as_deref(),
            Some("a%2Fb")
        );
        assert_eq!(model_in_path(b"/v1/models/"), None);
        assert_eq!(model_in_path(b"/v1/models"), None);
        assert_eq!(model_in_path(b"/v1/models/%f"), None);
    }
}
