// A router as the pages see it: its objects on ubus, with a configuration that can be changed.
//
// Why: what a page writes is only known by what arrives. Changes are staged as rpcd stages them, so
// that a test can look at exactly the options that were set, deleted and ordered.
//
// Limits: no access list (checks.mjs compares that with the calls), no real program: what onebox
// says is recorded or made up in data.mjs.

import { newStatus, interfaces, newHistory, WHY } from './data.mjs';

const NOT_FOUND = { code: -32000, message: 'Object not found' };
const DENIED = { code: -32002, message: 'Access denied' };
const clone = value => JSON.parse(JSON.stringify(value));

export const PUBLIC_KEY = 'hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=';
export const OTHER_KEY = 'xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=';
export const PSK = 'FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=';
export const CODE = 'onebox1-AJoAAQEBAQEBAQEB';

export class Router {
	constructor(options = {}) {
		this.calls = [];
		// LuCI reads its own package beside ours.
		this.uci = { onebox: clone(options.config ?? baseConfig()), luci: { main: { '.type': 'core', '.name': 'main', '.anonymous': false, '.index': 0, lang: 'auto' } } };
		this.committed = clone(this.uci);
		this.status = options.status === undefined ? newStatus('three') : options.status;
		this.history = options.history ?? newHistory(this.status);
		this.events = options.events ?? [];
		this.interfaces = options.interfaces ?? interfaces;
		this.service = { enabled: true, running: true };
		this.problems = { usable: true, problems: '' };
		this.log = '';
		this.expired = false;
		this.broken = false;
		this.publicKey = PUBLIC_KEY;
		this.readonly = false;
		this.refuse = {};
	}

	// One request of JSON-RPC, or several at once; null stands for a router that does not answer.
	answer(request) {
		if (this.broken)
			return null;

		return Array.isArray(request) ? request.map(one => this.one(one)) : this.one(request);
	}

	one({ id, method, params }) {
		const reply = outcome => ({ jsonrpc: '2.0', id, ...outcome });

		if (method === 'list')
			return reply({ result: params?.length > 1 ? {} : [ 'onebox', 'rc', 'uci' ] });

		const [ , object, name, args ] = params;
		const known = this[`${object}_${name}`.replace(/[.-]/g, '_')];

		this.calls.push({ object, method: name, args });

		if (this.expired)
			return reply({ error: DENIED });
		if (this.refuse[`${object}.${name}`])
			return reply(this.refuse[`${object}.${name}`]);
		if (object === 'onebox' && !this.status)
			return reply({ error: NOT_FOUND });
		if (!known)
			return reply({ error: NOT_FOUND });

		return reply({ result: known.call(this, args) });
	}

	called(object, method) {
		return this.calls.filter(call => call.object === object && call.method === method).map(call => call.args);
	}

	// Everything that would be committed, without what only rpcd adds.
	sections(type) {
		return Object.values(this.uci.onebox).filter(section => !type || section['.type'] === type)
			.sort((a, b) => a['.index'] - b['.index'])
			.map(section => Object.fromEntries(Object.entries(section).filter(([ key ]) => ![ '.index', '.anonymous' ].includes(key))));
	}

	session_access() { return [ 0, { access: !this.expired && !this.readonly } ] }
	luci_getFeatures() { return [ 0, {} ] }
	onebox_status() { return [ 0, clone(this.status) ] }
	onebox_history({ since, step }) { return this.history ? [ 0, clone(this.history(since, step)) ] : [ 3 ] }
	onebox_events() { return this.events ? [ 0, { events: clone(this.events) } ] : [ 3 ] }
	onebox_reconnect() { return [ 0 ] }
	onebox_test({ wan }) {
		const [ peer ] = this.status.peers;
		const sets = wan ? [ [ wan ] ] : [ ...peer.paths.map(path => [ path.wan ]), peer.paths.map(path => path.wan) ];
		if (this.refusesTests)
			return [ 9, { error: 'a speed test is under way', code: 'test_running' } ];
		peer.speed_test = {
			id: 2, running: true, percent: 40,
			steps: sets.flatMap(wans => [ 'down', 'up' ].map(way => ({ wans, way, kbps: null, error: null, error_code: null })))
		};
		return [ 0, { peer: peer.name, id: 2, seconds: 12, skipped: [] } ];
	}
	onebox_set_path({ wan, mode }) {
		for (const path of this.status.peers.flatMap(peer => peer.paths).filter(path => path.wan === wan))
			Object.assign(path, mode === 'off' ? { state: 'down', ...WHY.switched_off } : { state: 'active', ...WHY.in_use });
		return [ 0 ];
	}
	rc_list() { return [ 0, { onebox: { start: 90, ...this.service } } ] }
	rc_init({ action }) {
		this.service.running = action !== 'stop';
		if (this.onService)
			this.onService(action);
		return [ 0 ];
	}
	network_interface_dump() { return [ 0, { interface: clone(this.interfaces) } ] }
	// A router need not have what looks them up.
	network_rrdns_lookup({ addrs }) {
		return this.names ? [ 0, Object.fromEntries(addrs.filter(one => this.names[one]).map(one => [ one, this.names[one] ])) ] : [ 3 ];
	}
	file_list({ path }) { return [ 0, { entries: path.endsWith('/include') ? [ { name: '35_onebox.js', type: 'file' } ] : [] } ] }
	luci_onebox_check() { return [ 0, clone(this.problems) ] }
	luci_onebox_log() { return [ 0, { lines: this.log } ] }
	luci_onebox_pubkey() { return [ 0, { public_key: this.publicKey } ] }
	luci_onebox_genkey() { this.publicKey = OTHER_KEY; return [ 0, { public_key: OTHER_KEY } ] }
	luci_onebox_genpsk() { return [ 0, { key: PSK } ] }
	luci_onebox_describe({ code }) {
		return [ 0, code === CODE ? {
			version: 1, name: 'home', public_key: PUBLIC_KEY, server_public_key: OTHER_KEY,
			addresses: [ '10.99.0.2/24', 'fd99::2/64' ], endpoints: [ 'vps.example.net:51830' ]
		} : { error: 'the code is damaged: copy it once more' } ];
	}
	luci_onebox_join({ code, force }) {
		if (code !== CODE || (this.sections('peer').length && !force))
			return [ 0, { done: false, error: 'a tunnel is set up here; --force replaces that' } ];
		const main = this.uci.onebox.main;
		this.uci.onebox = Object.fromEntries(Object.entries(this.uci.onebox).filter(([ , section ]) => section['.type'] === 'wan'));
		this.uci.onebox.main = { ...main, enabled: '1', role: 'client', private_key_file: '/etc/onebox/private.key', address: [ '10.99.0.2/24', 'fd99::2/64' ] };
		this.uci.onebox.vps = { '.type': 'peer', '.name': 'vps', '.index': 90, public_key: OTHER_KEY, preshared_key: PSK, endpoint: [ 'vps.example.net:51830' ], allowed_ips: [ '0.0.0.0/0', '::/0' ] };
		this.committed = clone(this.uci);
		return [ 0, { done: true, message: 'joined as home' } ];
	}

	uci_get({ config }) { return this.uci[config] ? [ 0, { values: clone(this.uci[config]) } ] : [ 4 ] }
	uci_changes() {
		const changed = Object.keys(this.uci).filter(name => JSON.stringify(this.uci[name]) !== JSON.stringify(this.committed[name]));
		return [ 0, { changes: Object.fromEntries(changed.map(name => [ name, [ [ 'set' ] ] ])) } ];
	}
	uci_add({ config, type, name, values }) {
		const sections = this.uci[config];
		const id = name ?? `cfg${(Object.keys(sections).length + 1).toString(16).padStart(2, '0')}abcd`;
		sections[id] = { '.type': type, '.name': id, '.anonymous': !name, '.index': Object.keys(sections).length, ...values };
		return [ 0, { section: id } ];
	}
	uci_set({ config, section, values }) {
		Object.assign(this.uci[config][section], values);
		return [ 0 ];
	}
	uci_delete({ config, section, options }) {
		if (options)
			options.forEach(option => delete this.uci[config][section][option]);
		else
			delete this.uci[config][section];
		return [ 0 ];
	}
	uci_order({ config, sections }) {
		sections.forEach((name, index) => { if (this.uci[config][name]) this.uci[config][name]['.index'] = index });
		return [ 0 ];
	}
	uci_apply() { this.committed = clone(this.uci); return [ 0 ] }
	uci_confirm() { return [ 0 ] }
	uci_revert() { this.uci = clone(this.committed); return [ 0 ] }
}

// A router that is set up, with three connections of which two have sections.
export function baseConfig() {
	const sections = [
		{ '.type': 'onebox', '.name': 'main', enabled: '1', role: 'client', private_key_file: '/etc/onebox/private.key', address: [ '10.99.0.2/24' ] },
		{ '.type': 'peer', '.name': 'vps', public_key: OTHER_KEY, endpoint: [ 'vps.example.net:51830' ], allowed_ips: [ '0.0.0.0/0', '::/0' ] },
		{ '.type': 'wan', '.name': 'lte', interface: 'wwan', metered: '1', quota_mb: '50000', quota_day: '15' },
		{ '.type': 'wan', '.name': 'starlink', device: 'eth2', max_download: '180000', max_upload: '18000' }
	];

	return Object.fromEntries(sections.map((section, index) => [ section['.name'], { '.anonymous': false, '.index': index, ...section } ]));
}

// As the package installs it.
export function freshConfig() {
	return { main: { '.type': 'onebox', '.name': 'main', '.anonymous': false, '.index': 0, enabled: '0', role: 'client', private_key_file: '/etc/onebox/private.key', discover: '1', log_level: 'info' } };
}
