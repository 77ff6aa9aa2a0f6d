//! What the engine decides: who runs, who waits, who is refused, and when each token is due.
//!
//! Knows no sockets and no framing: what it says goes into a `Reply`. Invariant: `running` is the
//! number of exchanges whose place is `Running`, `waiting` that of those whose place is `Waiting`;
//! each is counted down in `release`, the only way out.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use serde_json::json;

use super::{
    answer::{self, Dialect},
    connection::OUTPUT_BYTES_HIGH,
    exchange::{Exchange, Place, Step},
    fault::Fault,
    options::{HeadAt, Options, Steps},
    reply::{Home, Reply},
    request::{Ask, Head, Overrides, Route},
    stats::{Counters, add, take},
};
use crate::{
    clock,
    random::Random,
    running::Counted,
    slab::{Key, Slab},
};

pub(crate) struct Core {
    pub(crate) options: Options,
    pub(crate) counters: Arc<Counters>,
    faults: Vec<(Fault, f64)>,
    random: Random,
    vocabulary: Vec<Vec<u8>>,
    scratch: Vec<u8>,
    /// All that have no end yet. The timers, the queue and the step may hold keys of others.
    pub(crate) exchanges: Slab<Exchange>,
    pub(crate) timers: BinaryHeap<Reverse<(u64, Key)>>,
    /// Of those that wait for a slot.
    pub(crate) queue: VecDeque<Key>,
    /// Those that emit in the common step, with their connection.
    pub(crate) aligned: Vec<(Key, Key)>,
    /// A step is going on, so `aligned` is not all there.
    pub(crate) stepping: bool,
    pub(crate) step_due_ns: u64,
    running: u32,
    waiting: u32,
    next_id: u64,
    created_s: u64,
    /// Set by `die_after_requests`.
    pub(crate) dead: bool,
}

impl Core {
    pub(crate) fn new(
        options: Options,
        faults: Vec<(Fault, f64)>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            random: Random::new(options.seed),
            vocabulary: answer::vocabulary(options.token_bytes),
            scratch: Vec::new(),
            exchanges: Slab::new(),
            timers: BinaryHeap::new(),
            queue: VecDeque::new(),
            aligned: Vec::new(),
            stepping: false,
            step_due_ns: 0,
            running: 0,
            waiting: 0,
            next_id: 1,
            created_s: clock::unix_s(),
            dead: false,
            options,
            counters,
            faults,
        }
    }

    fn slot_free(&self) -> bool {
        self.options.slots == 0 || self.running < self.options.slots
    }

    /// True when the next of the queue may run.
    pub(crate) fn may_start(&self) -> bool {
        self.waiting > 0 && self.slot_free()
    }

    /// A request is complete: answers it at once, or makes an exchange of it that lasts.
    pub(crate) fn dispatch(
        &mut self,
        home: Home,
        reply: &mut Reply<'_>,
        head: &Head,
        body: &[u8],
        now_ns: u64,
    ) -> Option<Key> {
        add(&self.counters.requests, 1);
        let dialect = match head.route {
            Route::Chat => Dialect::Chat,
            Route::Completions => Dialect::Completion,
            Route::Messages => Dialect::Message,
            Route::Embeddings => Dialect::Embedding,
            route => {
                self.plain(route, reply, body);
                return None;
            }
        };
        if !head.post {
            answer::error(reply, 405, "use POST", 0);
            return None;
        }
        let ask = match Ask::parse(body) {
            Ok(ask) => ask,
            Err(error) => {
                let why = format!("the body cannot be read: {error}");
                answer::error(reply, 400, &why, 0);
                return None;
            }
        };
        if self.options.models_strict && !self.options.models.contains(&ask.model) {
            let why = format!("The model `{}` does not exist.", ask.model);
            answer::error(reply, 404, &why, 0);
            return None;
        }
        let mut overrides = head.overrides;
        if overrides.fault.is_none() {
            overrides.fault = self.draw_fault();
        }
        if self.early_fault(overrides.fault, reply) {
            return None;
        }
        self.accept(home, reply, dialect, ask, overrides, now_ns)
    }

    fn draw_fault(&mut self) -> Option<Fault> {
        let Self { faults, random, .. } = self;
        faults
            .iter()
            .find(|(_, ratio)| random.chance(*ratio))
            .map(|(fault, _)| *fault)
    }

    /// Faults that strike before the model is asked; true when the request is done with.
    fn early_fault(&mut self, fault: Option<Fault>, reply: &mut Reply<'_>) -> bool {
        match fault {
            Some(Fault::Refuse) => reply.refuse(),
            Some(Fault::Status(status)) => {
                answer::error(reply, status, "simulated", self.options.retry_after_s);
            }
            Some(Fault::Freeze(ms)) => {
                std::thread::sleep(std::time::Duration::from_millis(u64::from(ms)));
                return false;
            }
            Some(Fault::Split) => {
                *reply.split = true;
                return false;
            }
            _ => return false,
        }
        add(&self.counters.faulted, 1);
        true
    }

    fn accept(
        &mut self,
        home: Home,
        reply: &mut Reply<'_>,
        dialect: Dialect,
        ask: Ask,
        overrides: Overrides,
        now_ns: u64,
    ) -> Option<Key> {
        let full = !self.slot_free() || self.waiting > 0;
        if full
            && self
                .options
                .queue_max
                .is_some_and(|max| self.waiting >= max)
        {
            add(&self.counters.shed, 1);
            answer::error(reply, 429, "the queue is full", self.options.retry_after_s);
            return None;
        }
        add(&self.counters.accepted, 1);
        add(&self.counters.prompt_tokens, ask.prompt_tokens);
        let mut exchange = self.plan(home, dialect, ask, overrides);
        if exchange.stream {
            exchange.event_prefix = answer::event_prefix(&exchange);
            if self.options.head == HeadAt::Once {
                exchange.head_sent = true;
                reply.stream_head();
            }
        }
        let key = self.exchanges.insert(exchange);
        let die_after = self.options.die_after_requests;
        self.dead = die_after > 0 && self.counters.accepted.load(Relaxed) >= die_after;
        if full {
            self.waiting += 1;
            self.counters
                .waiting
                .store(u64::from(self.waiting), Relaxed);
            self.queue.push_back(key);
            return Some(key);
        }
        let ended = self.start(key, reply, now_ns);
        (!ended).then_some(key)
    }

    fn plan(&mut self, home: Home, dialect: Dialect, ask: Ask, overrides: Overrides) -> Exchange {
        let options = &self.options;
        let stream = ask.stream && dialect != Dialect::Embedding;
        let tokens = overrides.tokens.or(ask.tokens).unwrap_or(options.tokens);
        let tokens = if dialect == Dialect::Embedding {
            0
        } else {
            tokens
        };
        let tokens = tokens.min(options.tokens_max).max(u32::from(stream));
        let slower = if overrides.fault == Some(Fault::Slow) {
            10
        } else {
            1
        };
        let gap_ns = overrides.gap_us.unwrap_or(options.gap_us) * 1000 * slower;
        let first_us = overrides.first_token_us.unwrap_or(options.first_token_us);
        let prefill_ns = options.prefill_ns_per_token * ask.prompt_tokens;
        let first_ns = (first_us * 1000 + prefill_ns) * slower;
        let service_ns = match (stream, options.unary_us) {
            (true, _) => first_ns,
            (false, Some(unary_us)) => unary_us * 1000 * slower,
            (false, None) => first_ns + gap_ns * u64::from(tokens.saturating_sub(1)),
        };
        let id = self.next_id;
        self.next_id += 1;
        Exchange {
            id,
            home,
            dialect,
            place: Place::Waiting,
            stream,
            include_usage: ask.include_usage,
            model: ask.model,
            created_s: self.created_s,
            prompt_tokens: ask.prompt_tokens,
            inputs: ask.inputs,
            tokens_sent: 0,
            tokens,
            service_ns,
            gap_ns,
            due_ns: 0,
            aligned: stream
                && options.steps == Steps::Aligned
                && overrides.gap_us.is_none()
                && slower == 1
                && gap_ns > 0,
            head_sent: false,
            fault: overrides.fault,
            event_prefix: Vec::new(),
        }
    }

    /// Starts an exchange that was taken from the head of the queue; true when it ended at once.
    pub(crate) fn unqueue(&mut self, key: Key, reply: &mut Reply<'_>, now_ns: u64) -> bool {
        self.waiting -= 1;
        self.counters
            .waiting
            .store(u64::from(self.waiting), Relaxed);
        self.start(key, reply, now_ns)
    }

    fn start(&mut self, key: Key, reply: &mut Reply<'_>, now_ns: u64) -> bool {
        self.running += 1;
        self.counters
            .running
            .store(u64::from(self.running), Relaxed);
        if u64::from(self.running) > self.counters.running_max.load(Relaxed) {
            self.counters
                .running_max
                .store(u64::from(self.running), Relaxed);
        }
        let Some(exchange) = self.exchanges.find(key) else {
            return true;
        };
        exchange.place = Place::Running;
        exchange.due_ns = now_ns + exchange.service_ns;
        let due_ns = exchange.due_ns;
        if exchange.aligned {
            if self.aligned.is_empty() && !self.stepping {
                // An engine that was idle begins its step when the work comes.
                self.step_due_ns = due_ns;
            }
            self.aligned.push((exchange.home.connection, key));
        } else if exchange.service_ns == 0 {
            return self.advance(key, reply, now_ns).over();
        } else {
            self.timers.push(Reverse((due_ns, key)));
        }
        false
    }

    /// An exchange is due: writes its next part, plans the one after. What it came to says whether
    /// it is still there.
    pub(crate) fn advance(&mut self, key: Key, reply: &mut Reply<'_>, now_ns: u64) -> Step {
        let Some(exchange) = self.exchanges.find(key) else {
            return Step::Done;
        };
        let step = if exchange.stream && reply.unsent > OUTPUT_BYTES_HIGH {
            Step::More
        } else if exchange.stream {
            let before = exchange.tokens_sent;
            // The stamp is read as late as can be: the write follows.
            let stamp_ns = clock::now_ns();
            let step = exchange.emit(reply, &self.vocabulary, stamp_ns);
            add(
                &self.counters.tokens,
                u64::from(exchange.tokens_sent - before),
            );
            step
        } else {
            let bytes_min = self.options.response_bytes as usize;
            let step = exchange.complete(reply, &self.vocabulary, bytes_min, &mut self.scratch);
            if step == Step::Done {
                add(&self.counters.tokens, u64::from(exchange.tokens));
            }
            step
        };
        match step {
            Step::More if !exchange.aligned => {
                exchange.due_ns = (exchange.due_ns + exchange.gap_ns).max(now_ns);
                self.timers.push(Reverse((exchange.due_ns, key)));
            }
            Step::More | Step::Stalled => {}
            Step::Done => {
                add(&self.counters.completed, 1);
                self.release(key);
            }
            Step::Faulted => {
                add(&self.counters.faulted, 1);
                self.release(key);
            }
        }
        step
    }

    /// The client of this exchange has gone.
    pub(crate) fn cancel(&mut self, key: Key) {
        if self.exchanges.find(key).is_some() {
            add(&self.counters.cancelled, 1);
            self.release(key);
        }
    }

    fn release(&mut self, key: Key) {
        let Some(exchange) = self.exchanges.remove(key.index) else {
            return;
        };
        match exchange.place {
            Place::Running => self.running -= 1,
            Place::Waiting => self.waiting -= 1,
        }
        self.counters
            .running
            .store(u64::from(self.running), Relaxed);
        self.counters
            .waiting
            .store(u64::from(self.waiting), Relaxed);
    }

    pub(crate) fn connection_closed(&mut self) {
        take(&self.counters.connections);
    }

    fn plain(&mut self, route: Route, reply: &mut Reply<'_>, body: &[u8]) {
        let json = "application/json";
        match route {
            Route::Models => {
                let entry = |name: &String| {
                    json!({"id": name, "object": "model", "created": self.created_s,
                        "owned_by": "sim", "max_model_len": 131_072})
                };
                let list: Vec<_> = self.options.models.iter().map(entry).collect();
                let text = json!({"object": "list", "data": list}).to_string();
                reply.whole(200, json, None, text.as_bytes());
            }
            Route::Health => reply.whole(200, json, None, b"{}"),
            Route::Metrics => {
                let text = self.metrics();
                reply.whole(200, "text/plain; version=0.0.4", None, text.as_bytes());
            }
            Route::Echo => reply.whole(200, "application/octet-stream", None, body),
            Route::Stats => {
                self.counters.cpu_ns.store(clock::thread_cpu_ns(), Relaxed);
                let text = json!(self.counters.read()).to_string();
                reply.whole(200, json, None, text.as_bytes());
            }
            Route::Inflight => {
                let text = json!({"running": self.running, "waiting": self.waiting}).to_string();
                reply.whole(200, json, None, text.as_bytes());
            }
            _ => answer::error(reply, 404, "no such path", 0),
        }
    }

    /// The names that routers scrape from vLLM.
    fn metrics(&self) -> String {
        use std::fmt::Write;

        let stats = self.counters.read();
        let model = self.options.models.first().map_or("sim", String::as_str);
        let slots = f64::from(self.options.slots.max(1));
        let rows = [
            ("num_requests_running", "gauge", stats.running as f64),
            ("num_requests_waiting", "gauge", stats.waiting as f64),
            (
                "kv_cache_usage_perc",
                "gauge",
                (stats.running as f64 / slots).min(1.0),
            ),
            (
                "gpu_cache_usage_perc",
                "gauge",
                (stats.running as f64 / slots).min(1.0),
            ),
            ("prompt_tokens_total", "counter", stats.prompt_tokens as f64),
            ("generation_tokens_total", "counter", stats.tokens as f64),
            ("request_success_total", "counter", stats.completed as f64),
        ];
        let mut text = String::new();
        for (name, kind, value) in rows {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# TYPE vllm:{name} {kind}\nvllm:{name}{{model_name=\"{model}\"}} {value}"
            );
        }
        text
    }
}
