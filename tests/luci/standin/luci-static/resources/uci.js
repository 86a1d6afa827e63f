'use strict';
'require baseclass';
'require rpc';

/* Part of the stand-in for LuCI's runtime: the configuration, with what was changed and not saved. */

const call = (method, params, expect) => rpc.declare({ object: 'uci', method: method, params: params, expect: expect, reject: true });
const callGet = call('get', [ 'config' ], { values: {} });
const callAdd = call('add', [ 'config', 'type', 'name', 'values' ], { section: '' });
const callSet = call('set', [ 'config', 'section', 'values' ]);
const callDelete = call('delete', [ 'config', 'section', 'options' ]);
const callOrder = call('order', [ 'config', 'sections' ]);
const callApply = call('apply', [ 'timeout', 'rollback' ]);
const callConfirm = call('confirm');

const plain = section => Object.fromEntries(Object.entries(section).filter(([ key ]) => !key.startsWith('.')));
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const copy = value => JSON.parse(JSON.stringify(value));

return baseclass.extend({
	__init__() {
		this.values = {};
		this.saved = {};
	},

	changes: call('changes', [], { changes: {} }),

	load(names) {
		return Promise.all(L.toArray(names).map(name => this.values[name] ? name : callGet(name).then(sections => {
			this.values[name] = sections;
			this.saved[name] = copy(sections);
		})));
	},

	unload(names) {
		L.toArray(names).forEach(name => { delete this.values[name]; delete this.saved[name] });
	},

	sections(name, type) {
		return Object.values(this.values[name] || {}).filter(section => !type || section['.type'] === type)
			.sort((a, b) => a['.index'] - b['.index']);
	},

	get(name, section, option) {
		const found = (this.values[name] || {})[section];

		if (!found)
			return null;

		return option ? found[option] === undefined ? null : found[option] : found;
	},

	set(name, section, option, value) {
		const found = this.get(name, section);

		if (found && (value === null || value === ''))
			delete found[option];
		else if (found)
			found[option] = value;
	},

	unset(name, section, option) {
		this.set(name, section, option, null);
	},

	add(name, type, wish) {
		const sid = wish || 'new%s'.format(Math.random().toString(16).slice(2, 8));

		this.values[name][sid] = { '.type': type, '.name': sid, '.create': wish || true, '.anonymous': !wish, '.index': 1000 + Object.keys(this.values[name]).length };
		return sid;
	},

	remove(name, section) {
		delete this.values[name][section];
	},

	/* Puts a section before another one, or at the end. */
	move(name, section, before) {
		const type = this.get(name, section)['.type'];
		const order = this.sections(name, type).map(one => one['.name']).filter(one => one !== section);

		order.splice(before ? order.indexOf(before) : order.length, 0, section);
		order.forEach((one, index) => { this.values[name][one]['.index'] = 100 + index });
		this.ordered = true;
	},

	save() {
		return Promise.all(Object.keys(this.values).map(name => this.saveOne(name)));
	},

	saveOne(name) {
		const now = this.values[name], before = this.saved[name], tasks = [];

		for (const sid in before)
			if (!now[sid])
				tasks.push(() => callDelete(name, sid, undefined));

		for (const sid in now) {
			if (!before[sid]) {
				tasks.push(() => callAdd(name, now[sid]['.type'], now[sid]['.create'] === true ? undefined : sid, plain(now[sid])));
				continue;
			}

			const gone = Object.keys(plain(before[sid])).filter(option => now[sid][option] === undefined);
			const changed = Object.entries(plain(now[sid])).filter(([ option, value ]) => !same(value, before[sid][option]));

			if (gone.length)
				tasks.push(() => callDelete(name, sid, gone));
			if (changed.length)
				tasks.push(() => callSet(name, sid, Object.fromEntries(changed)));
		}

		/* One after the other: sections are in the order in which they arrive. */
		return tasks.reduce((before, task) => before.then(task), Promise.resolve())
			.then(() => this.ordered ? callOrder(name, this.sections(name).map(section => section['.name'])) : null)
			.then(() => {
				this.ordered = false;
				this.unload(name);
				return this.load(name);
			});
	},

	apply() {
		/* Tells nobody when it has confirmed, as LuCI since 2025. */
		return callApply(10, true).then(() => { window.setTimeout(callConfirm, 50) });
	}
});
