//! One rule of routing, with its patterns prepared.

use super::plan::{Dialect, MatchPlan, RoutePlan};
use wire::{Method, Name, RequestHead};

/// A route as workers use it.
#[derive(Debug)]
pub struct Route {
    /// Position in the snapshot; the default route comes behind all others.
    pub position: usize,
    /// Metric label.
    pub name: String,
    /// Position of the pool in the same snapshot.
    pub pool: usize,
    /// 0 = high, 1 = normal, 2 = low.
    pub class: u8,
    /// Header that may lower the class.
    pub class_header: Option<Vec<u8>>,
    /// Form of error bodies, if fixed.
    pub dialect: Option<Dialect>,
    /// Largest request body in bytes.
    pub body_bytes_max: u64,
    /// Show endpoint and timing to the client.
    pub expose: bool,
    /// WebSocket upgrades allowed.
    pub websocket: bool,
    path: Option<PathPattern>,
    methods: Vec<Method>,
    headers: Vec<HeaderPattern>,
    models: Vec<Glob>,
}

#[derive(Debug)]
enum PathPattern {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
}

#[derive(Debug)]
struct HeaderPattern {
    known: Name,
    name: Vec<u8>,
    /// `None` = presence is enough.
    value: Option<Vec<u8>>,
}

/// Whether a request meets a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// The body's `model` must be known first.
    NeedsModel,
}

/// What is known of the body's `model`.
#[derive(Clone, Copy, Debug)]
pub enum Model<'a> {
    /// Bytes are missing.
    Unknown,
    /// There is none.
    Absent,
    /// This one.
    Is(&'a str),
}

impl Route {
    /// Prepares the patterns.
    pub fn new(plan: &RoutePlan, position: usize) -> Self {
        let MatchPlan {
            path,
            methods,
            headers,
            models,
        } = &plan.matches;
        Self {
            position,
            name: plan.name.clone(),
            pool: plan.pool as usize,
            class: plan.class.min(2),
            class_header: plan
                .class_header
                .as_ref()
                .map(|h| h.to_ascii_lowercase().into_bytes()),
            dialect: plan.dialect,
            body_bytes_max: plan.body_bytes_max,
            expose: plan.expose,
            websocket: plan.websocket,
            path: path.as_ref().map(|p| match p.strip_suffix('*') {
                Some(prefix) => PathPattern::Prefix(prefix.as_bytes().to_vec()),
                None => PathPattern::Exact(p.as_bytes().to_vec()),
            }),
            methods: methods
                .iter()
                .filter_map(|m| Method::from_bytes(m.as_bytes()))
                .collect(),
            headers: headers
                .iter()
                .map(|(name, value)| HeaderPattern {
                    known: Name::from_bytes(name.as_bytes()),
                    name: name.to_ascii_lowercase().into_bytes(),
                    value: (value != "*").then(|| value.as_bytes().to_vec()),
                })
                .collect(),
            models: models.iter().map(|m| Glob::new(m)).collect(),
        }
    }

    /// The route of the default pool.
    pub fn fallback(pool: u32, position: usize) -> Self {
        Self {
            position,
            name: "default".to_owned(),
            pool: pool as usize,
            class: 1,
            class_header: None,
            dialect: None,
            body_bytes_max: 32 * 1024 * 1024,
            expose: false,
            websocket: true,
            path: None,
            methods: Vec::new(),
            headers: Vec::new(),
            models: Vec::new(),
        }
    }

    /// Does this request meet the route?
    pub fn verdict(&self, head: &RequestHead, model: Model<'_>) -> Verdict {
        if !self.meets_head(head) {
            return Verdict::No;
        }
        if self.models.is_empty() {
            return Verdict::Yes;
        }
        match model {
            Model::Unknown => Verdict::NeedsModel,
            Model::Is(name) if self.models.iter().any(|g| g.matches(name.as_bytes())) => {
                Verdict::Yes
            }
            Model::Absent | Model::Is(_) => Verdict::No,
        }
    }

    /// Whether the route looks at the body's `model`.
    pub fn wants_model(&self) -> bool {
        !self.models.is_empty()
    }

    fn meets_head(&self, head: &RequestHead) -> bool {
        let path = match &self.path {
            None => true,
            Some(PathPattern::Exact(path)) => head.path() == &path[..],
            Some(PathPattern::Prefix(path)) => head.path().starts_with(path),
        };
        path && (self.methods.is_empty() || self.methods.contains(&head.method))
            && self.headers.iter().all(|h| h.meets(head))
    }
}

impl HeaderPattern {
    fn meets(&self, head: &RequestHead) -> bool {
        head.fields.iter().any(|field| {
            field.known == self.known
                && (self.known != Name::Other || field.name == &self.name[..])
                && self.value.as_ref().is_none_or(|v| field.value == &v[..])
        })
    }
}

/// A pattern in which `*` stands for any run of characters.
#[derive(Debug)]
struct Glob(Vec<u8>);

impl Glob {
    fn new(pattern: &str) -> Self {
        Self(pattern.as_bytes().to_vec())
    }

    /// Linear in `text` for each star (greedy with one point of return).
    fn matches(&self, text: &[u8]) -> bool {
        let pattern = &self.0;
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            if p < pattern.len() && pattern[p] == b'*' {
                star = Some((p, t));
                p += 1;
            } else if p < pattern.len() && pattern[p] == text[t] {
                p += 1;
                t += 1;
            } else if let Some((star_p, star_t)) = star {
                star = Some((star_p, star_t + 1));
                p = star_p + 1;
                t = star_t + 1;
            } else {
                return false;
            }
        }
        pattern[p..].iter().all(|b| *b == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("llama-*", "llama-3-8b", true),
            ("llama-*", "qwen", false),
            ("*", "", true),
            ("*8b*", "llama-8b-instruct", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("org/name", "org/name", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
