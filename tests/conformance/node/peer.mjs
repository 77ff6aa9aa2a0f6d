// Node's own HTTP/2, client and server, as a peer of the proxy. It speaks as the one in ../go does.
//
//   peer.mjs serve [CERTIFICATE KEY]      prints its address, ends with its input
//   peer.mjs ask BASE [AUTHORITY]         requests as JSON in, outcomes as JSON out
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';

const TEXT_MAX = 4096;
const BLOCK = Buffer.from(Array.from({ length: 64 * 1024 }, (_, i) => i & 0xff));
const count = { holding: 0, left: 0 };

// The bytes 0 to 255 over and over: what every body here is made of.
function* ramp(bytes) {
  for (let at = 0; at < bytes; at += BLOCK.length) {
    yield BLOCK.subarray(0, Math.min(BLOCK.length, bytes - at));
  }
}

const say = (stream, value) => {
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(value));
};

const routes = {
  '/info': (stream, fields) => say(stream, {
    method: fields[':method'], target: fields[':path'], authority: fields[':authority'],
    version: 'HTTP/2.0', fields,
  }),
  '/big': async (stream, fields, query) => {
    const bytes = Number(query.get('bytes'));
    const head = { 'content-type': 'application/octet-stream', 'content-length': bytes };
    if (fields[':method'] === 'HEAD') return stream.respond(head, { endStream: true });
    stream.respond(head);
    return pipeline(Readable.from(ramp(bytes)), stream);
  },
  '/echo': (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/octet-stream' });
    return pipeline(stream, stream);
  },
  '/sink': async (stream, _fields, query) => {
    await pause(Number(query.get('pause_ms')));
    const sum = createHash('sha256');
    let bytes = 0;
    for await (const part of stream) {
      sum.update(part);
      bytes += part.length;
    }
    say(stream, { bytes, sha256: sum.digest('hex') });
  },
  '/events': async (stream, _fields, query) => {
    stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
    for (let i = 0; i < Number(query.get('n')) && !stream.destroyed; i += 1) {
      stream.write(`data: token ${i}\n\n`);
      await pause(Number(query.get('gap_ms')));
    }
    if (!stream.destroyed) stream.end('data: [DONE]\n\n');
  },
  '/trailers': (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => {
      stream.sendTrailers({ 'grpc-status': '0', 'repr-digest': 'sha-256=:AAAA:' });
    });
    stream.end('before the trailers\n');
  },
  '/hold': (stream) => {
    count.holding += 1;
    const limit = setTimeout(() => stream.end(), 20_000);
    stream.on('close', () => {
      clearTimeout(limit);
      count.holding -= 1;
      count.left += stream.aborted || stream.rstCode === 8 ? 1 : 0;
    });
    stream.respond({ ':status': 200, 'content-type': 'text/event-stream' });
    stream.write('data: first\n\n');
  },
  '/held': (stream) => say(stream, count),
  '/early': (stream) => {
    stream.respond({ ':status': 413, 'content-type': 'text/plain' });
    stream.end('too much\n');
  },
  '/status': (stream, _fields, query) => {
    stream.respond({ ':status': Number(query.get('code')) }, { endStream: true });
  },
};

function serve([certificate, key]) {
  const server = certificate
    ? http2.createSecureServer({ cert: readFileSync(certificate), key: readFileSync(key) })
    : http2.createServer();
  server.on('stream', (stream, fields) => {
    stream.on('error', () => {});
    const [path, query] = fields[':path'].split('?');
    const route = routes[path] ?? ((lost) => lost.respond({ ':status': 404 }, { endStream: true }));
    Promise.resolve(route(stream, fields, new URLSearchParams(query))).catch(() => {});
  });
  server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`));
  process.stdin.on('end', () => process.exit(0)).resume();
}

const named = (fields) => Object.fromEntries(
  Object.entries(fields ?? {}).map(([name, value]) => [name, String(value)]),
);

function exchange(session, one) {
  const said = {
    status: 0, version: 'HTTP/2.0', length: -1, bytes: 0, sha256: '', events: 0, spread_ms: 0,
    fields: {}, trailers: {}, text: '', error: '',
  };
  const sum = createHash('sha256');
  let first = 0;
  let last = 0;
  return new Promise((resolve) => {
    const head = { ':method': one.method, ':path': one.path, ...one.fields };
    const stream = session.request(head, { endStream: !one.body });
    if (one.body) Readable.from(ramp(one.body)).on('error', () => {}).pipe(stream);
    stream.on('error', (error) => { said.error ||= String(error); });
    stream.on('trailers', (fields) => { said.trailers = named(fields); });
    stream.on('response', async (fields) => {
      said.status = fields[':status'];
      said.fields = named(fields);
      said.length = Number(fields['content-length'] ?? -1);
      await pause(one.pause_ms ?? 0);
      stream.on('data', (part) => {
        last = performance.now();
        first ||= last;
        said.bytes += part.length;
        said.events += part.toString('latin1').split('data: ').length - 1;
        sum.update(part);
        if (said.text.length < TEXT_MAX) said.text += part.toString('utf8').slice(0, TEXT_MAX);
        if (one.cancel_after && said.bytes >= one.cancel_after) {
          stream.close(http2.constants.NGHTTP2_CANCEL);
        }
      });
    });
    stream.on('close', () => {
      said.sha256 = sum.digest('hex');
      said.spread_ms = Math.round(last - first);
      if (stream.rstCode && !one.cancel_after) said.error ||= `reset ${stream.rstCode}`;
      resolve(said);
    });
  });
}

async function ask([base, authority]) {
  let input = '';
  for await (const part of process.stdin) input += part;
  const session = http2.connect(base, authority ? { ca: readFileSync(authority) } : {});
  session.on('error', (error) => { console.error(error); process.exit(1); });
  const found = [];
  for (const one of JSON.parse(input)) {
    const wishes = Array.from({ length: Math.max(1, one.count ?? 1) }, () => one);
    found.push(await Promise.all(wishes.map((wish) => exchange(session, wish))));
  }
  console.log(JSON.stringify(found));
  session.close();
}

const [command, ...rest] = process.argv.slice(2);
await { serve, ask }[command](rest);
