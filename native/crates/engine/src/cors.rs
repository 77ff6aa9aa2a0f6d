//! Cross-origin answers of a listener that has rules (Fetch standard §3.3).
//!
//! **Invariant:** with rules in force the upstream's own CORS headers are dropped: one voice.

use crate::exchange::Exchange;
use crate::peer::Sink;
use crate::snapshot::Listener;
use wire::Name;

/// Appends the CORS fields that this request's origin earns.
pub(crate) fn fields(out: &mut impl Sink, exchange: &Exchange, listener: &Listener) {
    let Some(rules) = &listener.plan.cors else {
        return;
    };
    let request = &exchange.head.fields;
    let Some(origin) = request.find(Name::Origin) else {
        return;
    };
    let any = rules.origins.iter().any(|o| o == "*");
    if !any && !rules.origins.iter().any(|o| o.as_bytes() == origin) {
        return;
    }
    let mut put = |name: &[u8], value: &[u8]| out.put(name, value);
    // With credentials the origin is named, never `*` (Fetch §3.3.5).
    let value = if any && !rules.credentials {
        b"*"
    } else {
        origin
    };
    put(b"access-control-allow-origin", value);
    put(b"vary", b"Origin");
    if rules.credentials {
        put(b"access-control-allow-credentials", b"true");
    }
    if request.find(Name::AccessControlRequestMethod).is_some() {
        put(
            b"access-control-allow-methods",
            rules.methods.join(", ").as_bytes(),
        );
        let asked = request.find(Name::AccessControlRequestHeaders);
        let all = rules.headers.iter().any(|h| h == "*");
        let allowed = rules.headers.join(", ");
        let allowed = if all {
            asked.unwrap_or(b"*")
        } else {
            allowed.as_bytes()
        };
        if !allowed.is_empty() {
            put(b"access-control-allow-headers", allowed);
        }
        put(
            b"access-control-max-age",
            rules.max_age_s.to_string().as_bytes(),
        );
    } else if !rules.expose.is_empty() {
        put(
            b"access-control-expose-headers",
            rules.expose.join(", ").as_bytes(),
        );
    }
}
