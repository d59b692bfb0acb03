// Drives a server with the package etcd3 for Node.js, which speaks gRPC.
//
//     with_etcd3.js http://HOST:PORT    (an empty server, which it leaves without accounts)

'use strict';

const assert = require('node:assert/strict');
const { once } = require('node:events');
const { Etcd3, Range } = require('etcd3');

const hosts = process.argv[2];
const connect = (options) => new Etcd3({ hosts, ...options });

/** Fails unless the promise is refused with an error that says this. */
const refused = (text, promise) =>
  assert.rejects(Promise.resolve(promise), (error) => error.message.includes(text));

/** Waits for an event, but not for ever. */
const heard = (emitter, event) => once(emitter, event, { signal: AbortSignal.timeout(10_000) });

const checks = {
  async 'put and get'(etcd) {
    await etcd.put('greeting').value('hello');
    const before = await etcd.put('greeting').value('hello again').getPrevious();
    assert.equal(before.value.toString(), 'hello');
    assert.equal(await etcd.get('greeting').string(), 'hello again');
    assert.equal((await etcd.get('greeting').exec()).kvs[0].version, '2');
    assert.equal(await etcd.get('nobody'), null);
    assert.equal(await etcd.get('nobody').exists(), false);
  },

  async 'read ranges'(etcd) {
    for (const name of ['a', 'b', 'c']) await etcd.put(`range/${name}`).value(name);
    const all = etcd.getAll().prefix('range/');
    assert.deepEqual(await all.strings(), { 'range/a': 'a', 'range/b': 'b', 'range/c': 'c' });
    assert.equal(await etcd.getAll().prefix('range/').count(), 3);
    const part = etcd.getAll().inRange(new Range('range/a', 'range/c'));
    assert.deepEqual(await part.keys(), ['range/a', 'range/b']);
    const falling = etcd.getAll().prefix('range/').sort('Key', 'Descend').limit(2);
    assert.deepEqual(await falling.keys(), ['range/c', 'range/b']);
    assert.deepEqual(await etcd.namespace('range/').getAll().keys(), ['a', 'b', 'c']);
  },

  async 'delete'(etcd) {
    const [gone] = await etcd.delete().key('range/a').getPrevious();
    assert.equal(gone.value.toString(), 'a');
    assert.equal((await etcd.delete().prefix('range/')).deleted, '2');
    assert.deepEqual(await etcd.getAll().prefix('range/').keys(), []);
  },

  async 'run a transaction'(etcd) {
    await etcd.put('txn').value('old');
    const done = await etcd
      .if('txn', 'Value', '==', 'old')
      .and('txn', 'Version', '>', 0)
      .and('nothing', 'Create', '==', 0)
      .then(etcd.put('txn').value('new'), etcd.get('txn'))
      .else(etcd.delete().key('txn'))
      .commit();
    assert.equal(done.succeeded, true);
    assert.equal(done.responses[1].response_range.kvs[0].value.toString(), 'new');
    const not = await etcd.if('txn', 'Value', '==', 'old').then().else(etcd.get('txn')).commit();
    assert.equal(not.succeeded, false);
    const puts = ['1', '2'].map((value) => etcd.put('txn').value(value));
    await refused('duplicate key', etcd.if('txn', 'Version', '>', 0).then(...puts).commit());
  },

  async 'transact in software'(etcd) {
    await etcd.put('counter').value(0);
    const increment = () =>
      etcd.stm({ retries: 50 }).transact(async (tx) => {
        const value = await tx.get('counter').number();
        await tx.put('counter').value(value + 1);
      });
    await Promise.all(Array.from({ length: 5 }, increment));
    assert.equal(await etcd.get('counter').number(), 5);
  },

  async 'watch'(etcd) {
    const first = await etcd.put('watched/a').value('1');
    const watcher = etcd
      .watch()
      .prefix('watched/')
      .startRevision(first.header.revision)
      .withPreviousKV()
      .watcher();
    const seen = [];
    watcher.on('put', (kv, before) => seen.push(`put ${kv.value} after ${before?.value}`));
    watcher.on('delete', (kv, before) => seen.push(`delete ${kv.key} after ${before?.value}`));
    const end = heard(watcher, 'delete');
    await heard(watcher, 'connected');
    await etcd.put('watched/a').value('2');
    await etcd.delete().key('watched/a');
    await end;
    await watcher.cancel();
    assert.deepEqual(seen, [
      'put 1 after undefined',
      'put 2 after 1',
      'delete watched/a after 2',
    ]);
    const deaf = await etcd.watch().key('watched/a').only('delete').create();
    const gone = heard(deaf, 'data');
    await etcd.put('watched/a').value('3');
    await etcd.delete().key('watched/a');
    assert.equal((await gone)[0].events[0].type, 'Delete');
    await deaf.cancel();
  },

  async 'lease'(etcd) {
    const lease = etcd.lease(60, { autoKeepAlive: false });
    await lease.put('leased').value('for a minute');
    const id = await lease.grant();
    assert.equal((await etcd.get('leased').exec()).kvs[0].lease, id);
    assert.equal((await lease.keepaliveOnce()).TTL, '60');
    const left = await etcd.leaseClient.leaseTimeToLive({ ID: id, keys: true });
    assert.deepEqual(left.keys.map(String), ['leased']);
    const { leases } = await etcd.leaseClient.leaseLeases();
    assert.deepEqual(leases.map((known) => known.ID), [id]);
    await lease.revoke();
    assert.equal(await etcd.get('leased'), null);
    await refused('requested lease not found', etcd.put('leased').value('late').lease(id));
  },

  async 'keep a lease alive'(etcd) {
    const lease = etcd.lease(3);
    await lease.put('kept').value('as long as somebody renews it');
    await heard(lease, 'keepaliveSucceeded');
    assert.equal(await etcd.get('kept').exists(), true);
    const lost = heard(lease, 'lost');
    await etcd.leaseClient.leaseRevoke({ ID: await lease.grant() });
    await lost;
  },

  async 'lock'(etcd) {
    const mine = await etcd.lock('seat').ttl(30).acquire();
    await refused('seat', etcd.lock('seat').acquire());
    await mine.release();
    assert.equal(await etcd.lock('seat').do(() => 'mine now'), 'mine now');
  },

  async 'elect'(etcd) {
    const election = etcd.election('office', 30);
    const first = election.campaign('first');
    await first.wait();
    const observer = await election.observe();
    if (observer.leader() !== 'first') await heard(observer, 'change');
    assert.equal(observer.leader(), 'first');
    const changed = heard(observer, 'change');
    await first.proclaim('first again');
    assert.deepEqual(await changed, ['first again']);
    const second = election.campaign('second');
    await first.resign();
    await second.wait();
    assert.equal(await election.leader(), 'second');
    await observer.cancel();
    await second.resign();
  },

  async 'compact'(etcd) {
    await etcd.put('compacted').value('1');
    const { header } = await etcd.put('compacted').value('2');
    await etcd.kv.compact({ revision: header.revision, physical: true });
    const compacted = 'required revision has been compacted';
    await refused(compacted, etcd.get('compacted').revision(Number(header.revision) - 1));
    await refused(compacted, etcd.kv.compact({ revision: header.revision }));
    const late = etcd.watch().key('compacted').startRevision('1').watcher();
    // Neither server gives a reason beside the compacted revision.
    assert.match((await heard(late, 'error'))[0].message, /^Watcher canceled/);
  },

  async 'maintain'(etcd) {
    const status = await etcd.maintenance.status();
    assert.match(status.version, /^3\./);
    const { members } = await etcd.cluster.memberList({});
    assert.deepEqual(members.map((member) => member.ID), [status.leader]);
    assert.deepEqual((await etcd.maintenance.alarm({ action: 'Get' })).alarms, []);
    const snapshot = await etcd.maintenance.snapshot();
    const pieces = [];
    snapshot.on('data', (piece) => pieces.push(piece.blob));
    await heard(snapshot, 'end');
    // A bbolt database begins with a page of meta data: its magic is at byte 16.
    assert.equal(Buffer.concat(pieces).subarray(16, 20).toString('hex'), 'edda0ced');
  },

  async 'use accounts'(etcd) {
    for (const name of ['root', 'alice']) {
      const user = await etcd.user(name).create(`${name}-secret`);
      await user.addRole(await etcd.role(name).create());
    }
    const range = etcd.range({ prefix: 'alice/' });
    await etcd.role('alice').grant({ permission: 'Readwrite', range });
    const [permission] = await etcd.role('alice').permissions();
    assert.equal(permission.range.start.toString(), 'alice/');
    await refused('user name already exists', etcd.user('alice').create('twice'));
    await etcd.auth.authEnable();
    await refused('user name is empty', etcd.put('anybody').value('no'));
    const enter = (username, password) => connect({ auth: { username, password } });
    const stranger = enter('alice', 'wrong');
    await refused('authentication failed', stranger.get('alice/note'));
    const alice = enter('alice', 'alice-secret');
    await alice.put('alice/note').value('mine');
    assert.equal(await alice.get('alice/note'), 'mine');
    await refused('permission denied', alice.put('bob/note').value('his'));
    await refused('permission denied', alice.getAll().all());
    const root = enter('root', 'root-secret');
    assert.deepEqual((await root.getUsers()).map((user) => user.name), ['alice', 'root']);
    await root.auth.authDisable();
    await etcd.put('anybody').value('again');
    for (const client of [stranger, alice, root]) client.close();
  },
};

async function main() {
  const etcd = connect();
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check(etcd);
    } catch (error) {
      console.error(error);
      console.log(`FAILED: ${name}`);
      process.exit(1);
    }
    console.log(`ok: ${name}`);
  }
  process.exit(0);
}

main();
