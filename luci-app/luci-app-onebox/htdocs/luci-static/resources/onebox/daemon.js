'use strict';
'require baseclass';
'require rpc';
'require uci';

/* The router's side of the pages: every call that they make is declared here, and nowhere else, so
 * that the access list can be compared with it.
 *
 * Why a snapshot: whether the program runs, has just been started or is refused by its own
 * configuration is not one answer but several, of which each can be missing. `look` asks for them
 * in order and says in one word what is the case.
 */

const callStatus = rpc.declare({ object: 'onebox', method: 'status', reject: true });
const callEvents = rpc.declare({ object: 'onebox', method: 'events', params: [ 'since' ], expect: { events: [] }, reject: true });
const callHistory = rpc.declare({ object: 'onebox', method: 'history', params: [ 'since' ], reject: true });
const callReconnect = rpc.declare({ object: 'onebox', method: 'reconnect', reject: true });
const callSetPath = rpc.declare({ object: 'onebox', method: 'set_path', params: [ 'wan', 'mode' ], reject: true });
const callServices = rpc.declare({ object: 'rc', method: 'list', params: [ 'name' ], expect: { '': {} }, reject: true });
const callService = rpc.declare({ object: 'rc', method: 'init', params: [ 'name', 'action' ], reject: true });
const callInterfaces = rpc.declare({ object: 'network.interface', method: 'dump', expect: { interface: [] } });
const callCheck = rpc.declare({ object: 'luci.onebox', method: 'check', reject: true });
const callLog = rpc.declare({ object: 'luci.onebox', method: 'log', expect: { lines: '' } });
const callPubkey = rpc.declare({ object: 'luci.onebox', method: 'pubkey', expect: { public_key: '' } });
const callGenkey = rpc.declare({ object: 'luci.onebox', method: 'genkey', expect: { public_key: '' }, reject: true });
const callGenpsk = rpc.declare({ object: 'luci.onebox', method: 'genpsk', expect: { key: '' }, reject: true });
const callDescribe = rpc.declare({ object: 'luci.onebox', method: 'describe', params: [ 'code' ], reject: true });
const callJoin = rpc.declare({ object: 'luci.onebox', method: 'join', params: [ 'code', 'force' ], reject: true });

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
		proto: entry.proto,
		mobile: MOBILE.includes(entry.proto),
		internet: routes.some(r => r.mask === 0 && (r.target === '0.0.0.0' || r.target === '::'))
	};
}

/* Whether the bus says that there is no such object or method, as against that it cannot be asked. */
function isMissing(error) {
	return /-32000|-32601|ubus code [34]\b|not found/i.test(String(error.message || error));
}

return baseclass.extend({
	status: callStatus,
	events: callEvents,
	history: callHistory,
	check: callCheck,
	pubkey: callPubkey,
	genkey: callGenkey,
	genpsk: callGenpsk,
	describe: callDescribe,
	join: callJoin,
	isMissing: isMissing,

	/* Starts anew with every peer. */
	reconnect() {
		return callReconnect();
	},

	/* Uses a WAN as active, backup or not at all, until the next start. */
	setPath(wan, mode) {
		return callSetPath(wan, mode);
	},

	/* start, stop, restart, reload, enable, disable */
	service(action) {
		return callService('onebox', action);
	},

	/* Has what is saved applied, and waits until the router has seen that the browser still reaches
	 * it; without that it takes everything back. */
	apply() {
		return new Promise((resolve, reject) => {
			const late = window.setTimeout(() => reject(new Error(_('The router did not confirm the change and takes it back.'))), 20000);

			document.addEventListener('uci-applied', () => {
				window.clearTimeout(late);
				/* LuCI counts what is not applied yet when it hears this. */
				document.dispatchEvent(new CustomEvent('uci-loaded'));
				resolve();
			}, { once: true });
			uci.apply().catch(error => reject(error instanceof Error ? error : new Error(_('The change could not be applied.'))));
		});
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

	isEnabled() {
		const main = this.mainName();

		return main != null && ![ '0', 'off', 'false', 'no', 'disabled' ].includes(uci.get('onebox', main, 'enabled'));
	},

	/* The interfaces that may be WANs, one for each device: wan and wan6 are the same line. The
	 * tunnel itself is none. */
	interfaces() {
		return L.resolveDefault(callInterfaces(), []).then(list => {
			const found = [];

			for (const entry of list.map(interfaceOf)) {
				if (entry.name === 'loopback' || entry.proto === 'onebox')
					continue;

				const same = entry.device && found.find(other => other.device === entry.device);

				if (same) {
					same.names.push(entry.name);
					same.up = same.up || entry.up;
					same.internet = same.internet || entry.internet;
				}
				else {
					found.push(entry);
				}
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
		return callStatus().then(
			status => L.isObject(status) && status.state
				? { kind: 'running', status: status } : this.lookCloser(),
			error => isMissing(error) ? this.lookCloser() : { kind: 'lost', error: error });
	},

	lookCloser() {
		uci.unload('onebox');

		return Promise.all([ uci.load('onebox'), callServices('onebox') ]).then(([ , services ]) => {
			const service = services.onebox || {};

			if (!this.isEnabled())
				return { kind: 'off', configured: uci.sections('onebox', 'peer').length > 0 };

			return Promise.all([ L.resolveDefault(callCheck(), {}), callLog() ]).then(([ said, log ]) => {
				const problems = (said.problems || '').split('\n').filter(line => line !== '');
				const kind = said.usable === false ? 'refused' : service.running ? 'starting' : 'stopped';

				return { kind: kind, problems: problems, log: log };
			});
		}).catch(error => ({ kind: 'lost', error: error }));
	}
});
