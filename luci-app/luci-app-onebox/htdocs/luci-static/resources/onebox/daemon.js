'use strict';
'require baseclass';
'require rpc';
'require uci';
'require onebox.fields as fields';

/* The router's side of the pages: every call that they make is declared here, and nowhere else, so
 * that the access list can be compared with it.
 *
 * Why a snapshot: whether the program runs, has just been started or is refused by its own
 * configuration is not one answer but several, of which each can be missing. `look` asks for them
 * in order and says in one word what is the case.
 */

/* A call with the names of its arguments; of the answer, what is expected of it. */
function call(object, method, params, expect) {
	return rpc.declare({ object, method, params, expect, reject: true });
}

const callServices = call('rc', 'list', [ 'name' ], { '': {} });
const callService = call('rc', 'init', [ 'name', 'action' ]);
const callConfirm = call('uci', 'confirm');
const callApply = call('uci', 'apply', [ 'timeout', 'rollback' ]);
const callInterfaces = call('network.interface', 'dump', [], { interface: [] });
const callTest = call('onebox', 'test', [ 'wan' ]);
const callLog = call('luci.onebox', 'log', [], { lines: '' });
const callNames = call('network.rrdns', 'lookup', [ 'addrs', 'timeout', 'limit' ], { '': {} });

/* What reverse() has found, by address. */
const names = {};

/* Protocols of mobile networks: what they carry is often paid for by volume. */
const MOBILE = [ '3g', 'mbim', 'modemmanager', 'ncm', 'qmi', 'wwan' ];

/* What an interface of netifd is, for a choice of WANs. */
function interfaceOf(entry) {
	const routes = (entry.route || []).concat((entry.inactive || {}).route || []);

	return {
		name: entry.interface,
		names: [ entry.interface ],
		device: entry.l3_device || entry.device || '',
		up: entry.up === true,
		mobile: MOBILE.includes(entry.proto),
		internet: routes.some(r => r.mask === 0 && (r.target === '0.0.0.0' || r.target === '::'))
	};
}

/* How the bus says that there is no such object or method, as against that it cannot be asked. */
const MISSING = /-32000|-32601|ubus code [34]\b|not found/i;

return baseclass.extend({
	status: call('onebox', 'status'),
	events: call('onebox', 'events', [ 'since' ], { events: [] }),
	history: call('onebox', 'history', [ 'since', 'step' ]),
	/* Starts anew with every peer. */
	reconnect: call('onebox', 'reconnect'),
	/* Uses a WAN as active, backup or not at all, until the next start. */
	setPath: call('onebox', 'set_path', [ 'wan', 'mode' ]),
	/* Tests the speed of a WAN, or of each and then of all together; how it goes is in the status. */
	test(wan) {
		/* Of a refusal only its number gets through. */
		return callTest(wan).catch(() => {
			throw new Error(_('no test can begin: one goes on, or the link is not in use or has no quota left'));
		});
	},
	/* The name that an address has in the DNS, which mostly tells whose it is; empty without one, or where
	 * nobody can be asked. Its owner writes what he likes: of that, what a host's name has, and not all. */
	reverse(address) {
		return names[address] = names[address] || L.resolveDefault(callNames([ address ], 3000, 1), {})
			.then(found => String(found[address] || '').replace(/[^\w.-]/g, '').slice(0, 80));
	},
	check: call('luci.onebox', 'check'),
	pubkey: call('luci.onebox', 'pubkey', [], { public_key: '' }),
	genkey: call('luci.onebox', 'genkey', [], { public_key: '' }),
	genpsk: call('luci.onebox', 'genpsk', [], { key: '' }),
	describe: call('luci.onebox', 'describe', [ 'code' ]),
	join: call('luci.onebox', 'join', [ 'code', 'force' ]),

	/* start, stop, restart, reload, enable, disable */
	service(action) {
		return callService('onebox', action);
	},

	/* Has what is saved applied, and confirms it when the router is seen to be within reach still;
	 * without that it takes everything back. Not LuCI's `uci.apply`: since 2025 nobody is told when
	 * that has confirmed. */
	apply() {
		/* The router waits as long. */
		const until = Date.now() + 15000;
		const confirm = ms => new Promise(done => setTimeout(done, ms)).then(callConfirm).catch(() => {
			if (Date.now() < until)
				return confirm(250);

			throw new Error(_('The router did not confirm the change and takes it back.'));
		});

		return callApply(15, true).then(() => confirm(1000))
			/* LuCI counts what is not applied yet when it hears this. */
			.then(() => document.dispatchEvent(new Event('uci-loaded')));
	},

	/* Switches the service on for good, with what the configuration says now. */
	startForGood() {
		return this.service('enable').then(() => this.service('restart'));
	},

	/* The section of type onebox; there is one after the installation. */
	mainName() {
		const main = uci.sections('onebox', 'onebox')[0];

		return main ? main['.name'] : null;
	},

	/* The interfaces that may be WANs, one for each device: wan and wan6 are the same line. The
	 * tunnel itself is none. */
	interfaces() {
		return L.resolveDefault(callInterfaces(), []).then(list => {
			const found = [];

			for (const entry of list.filter(one => one.interface !== 'loopback' && one.proto !== 'onebox')) {
				const one = interfaceOf(entry);
				const same = one.device && found.find(other => other.device === one.device);

				if (!same) {
					found.push(one);
					continue;
				}

				same.names.push(one.name);
				same.up = same.up || one.up;
				same.internet = same.internet || one.internet;
			}

			return found;
		});
	},

	/* What is the case: { kind, status, problems, log } with kind
	 *   running   status is there, whatever it says
	 *   off       switched off in the configuration
	 *   refused   the configuration has mistakes, which are in problems
	 *   starting  the service runs and does not answer yet
	 *   stopped   it does not run; log has its last words
	 *   lost      the router does not answer, or forbids to ask */
	look() {
		return this.status().then(
			status => L.isObject(status) && status.state
				? { kind: 'running', status } : this.lookCloser(),
			error => MISSING.test(String(error.message || error)) ? this.lookCloser() : { kind: 'lost', error });
	},

	lookCloser() {
		uci.unload('onebox');

		return Promise.all([ uci.load('onebox'), callServices('onebox') ]).then(([ , { onebox: service } ]) => {
			const main = this.mainName();

			if (main == null || fields.flag(uci.get('onebox', main, 'enabled')) === '0')
				return { kind: 'off', configured: uci.sections('onebox', 'peer').length > 0 };

			return Promise.all([ L.resolveDefault(this.check(), {}), L.resolveDefault(callLog()) ]).then(([ said, log ]) => {
				const problems = (said.problems || '').split('\n').filter(line => line !== '');
				const kind = said.usable === false ? 'refused' : (service || {}).running ? 'starting' : 'stopped';

				return { kind, problems, log };
			});
		}).catch(error => ({ kind: 'lost', error }));
	}
});
