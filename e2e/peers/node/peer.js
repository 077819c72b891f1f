'use strict';
// The ali-ons client under remote control; ../README.md describes the protocol.

const crypto = require('crypto');
const readline = require('readline');
const { Producer, Consumer, Message } = require('ali-ons');

const nameSrv = process.argv[2];
const producers = new Map();
const consumers = new Map();
const logger = { info() {}, debug() {}, warn: console.error, error: console.error };
// Without an address server the client asks for none; it insists on an HTTP client all the same.
const httpclient = { request: async () => { throw new Error('no address server here'); } };

const emit = fields => process.stdout.write('@' + new URLSearchParams(fields) + '\n');

function body(cmd, i) {
  const size = Number(cmd.size || 0);
  if (!size) return Buffer.from((cmd.body || '') + i);
  const b = Buffer.alloc(size);
  for (let j = 0; j < size; j++) b[j] = (31 * j + i) % 251;
  return b;
}

async function produce(cmd) {
  const key = cmd.group + cmd.compress;
  if (!producers.has(key)) {
    const p = new Producer({
      httpclient, nameSrv, logger, producerGroup: cmd.group, instanceName: `p${producers.size}`, sendMsgTimeout: 20000,
      compressMsgBodyOverHowmuch: cmd.compress === 'false' ? 1 << 30 : 4096,
    });
    p.on('error', console.error);
    await p.ready();
    producers.set(key, p);
  }
  const send = async i => {
    const m = new Message(cmd.topic, cmd.tags || '', body(cmd, i));
    m.keys = [ `${cmd.keys}-${i}` ];
    const r = await producers.get(key).send(m);
    if (r.sendStatus !== 'SEND_OK') throw new Error(`send status ${r.sendStatus}`);
    return r;
  };
  const first = Number(cmd.first || 0);
  const count = Number(cmd.count || 1);
  let results = [];
  if (cmd.mode === 'sync') {
    for (let i = first; i < first + count; i++) results.push(await send(i));
  } else if (cmd.mode === 'async') {
    results = await Promise.all(Array.from({ length: count }, (_, i) => send(first + i)));
  } else {
    throw new Error(`no mode ${cmd.mode} in ali-ons`);
  }
  return {
    acks: results.map(r => `${r.messageQueue.brokerName}/${r.messageQueue.queueId}/${r.queueOffset}`).join(','),
    offsetMsgId: results[results.length - 1].msgId,
  };
}

async function subscribe(cmd) {
  if (cmd.mode === 'orderly') throw new Error('no orderly consumer in ali-ons');
  const c = new Consumer({
    httpclient, nameSrv, logger, consumerGroup: cmd.group, instanceName: cmd.name,
    isBroadcast: cmd.model === 'broadcasting', consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
  });
  c.on('error', console.error);
  c.subscribe(cmd.topic, cmd.expr || '*', async (m, mq) => {
    emit({
      event: 'msg', consumer: cmd.name, topic: m.topic, queue: `${mq.brokerName}/${mq.queueId}`, offset: m.queueOffset,
      keys: m.properties.KEYS || '', tags: m.tags || '', sha: crypto.createHash('sha256').update(m.body).digest('hex'),
    });
  });
  await c.ready();
  consumers.set(cmd.name, c);
}

async function run(cmd) {
  switch (cmd.op) {
    case 'produce': return await produce(cmd);
    case 'subscribe': return await subscribe(cmd);
    case 'unsubscribe': {
      const c = consumers.get(cmd.name);
      consumers.delete(cmd.name);
      await c.close();
      return;
    }
    default: throw new Error(`no op ${cmd.op} in ali-ons`);
  }
}

(async () => {
  emit({ event: 'ready' });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const cmd = Object.fromEntries(new URLSearchParams(line));
    try {
      emit(Object.assign({ id: cmd.id, ok: 'true' }, await run(cmd)));
    } catch (err) {
      emit({ id: cmd.id, ok: 'false', error: String(err) });
    }
  }
  process.exit(0);
})();
