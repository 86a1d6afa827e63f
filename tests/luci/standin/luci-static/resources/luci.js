'use strict';

/* Part of the stand-in for LuCI's runtime: classes, elements, calls to the router, the loader.
 *
 * Why: LuCI is not in any registry of packages, so a clean machine cannot have it; the pages have
 * to be tried in a browser on every run all the same. How: the same names, the same arguments and
 * the same markup as LuCI's, of what the pages use and no more. In particular a text that is not
 * in an array is markup, as in LuCI, so that a page that shows a foreign text that way is found out.
 */

(function() {
	/* Classes: extend, instantiate, __init__. */
	class Base {
		constructor(...args) {
			if (typeof this.__init__ === 'function')
				this.__init__(...args);
		}

		static extend(properties) {
			const Child = class extends this {};

			Object.assign(Child.prototype, properties);
			return Child;
		}

		static instantiate(args) {
			return new this(...args);
		}
	}

	const instances = new WeakMap();

	const dom = {
		elem: node => node instanceof Node,

		append(node, children) {
			if (Array.isArray(children)) {
				for (const child of children)
					if (Array.isArray(child))
						dom.append(node, child);
					else if (dom.elem(child))
						node.appendChild(child);
					else if (child !== null && child !== undefined)
						node.appendChild(document.createTextNode(String(child)));
			}
			else if (typeof children === 'function') {
				dom.append(node, children(node));
			}
			else if (dom.elem(children)) {
				node.appendChild(children);
			}
			else if (children !== null && children !== undefined) {
				node.insertAdjacentHTML('beforeend', String(children));
			}

			return node.lastChild;
		},

		content(node, children) {
			while (node.firstChild)
				node.removeChild(node.firstChild);

			return dom.append(node, children);
		},

		attr(node, attributes) {
			for (const [ name, value ] of Object.entries(attributes || {}))
				if (typeof value === 'function')
					node.addEventListener(name, value);
				else if (value !== null && value !== undefined)
					node.setAttribute(name, typeof value === 'object' ? JSON.stringify(value) : value);
		},

		bindClassInstance: (node, instance) => instances.set(node, instance),
		findClassInstance(node) {
			for (let at = node; at; at = at.parentNode)
				if (instances.has(at))
					return instances.get(at);

			return null;
		}
	};

	window.E = function(name, second, third) {
		const attributes = second !== null && typeof second === 'object' && !Array.isArray(second) && !dom.elem(second) ? second : null;
		const node = Array.isArray(name) ? document.createDocumentFragment() : document.createElement(name);

		if (Array.isArray(name)) {
			dom.append(node, name);
			return node;
		}

		dom.attr(node, attributes);
		dom.append(node, attributes || third !== undefined ? third : second);
		return node;
	};

	/* Polling: every entry at its own interval, never twice at once. */
	const poll = {
		add(fn, seconds) {
			let busy = false;

			return window.setInterval(() => {
				if (busy)
					return;

				busy = true;
				Promise.resolve().then(fn).catch(() => {}).finally(() => { busy = false });
			}, (seconds || window.L.env.pollinterval) * 1000);
		}
	};

	let requestId = 1, expired = false;

	function displayExpired() {
		if (expired)
			return;

		expired = true;
		window.L.require('ui').then(ui => ui.showModal(_('Session expired'), [
			E('div', { 'class': 'alert-message warning' }, [ _('A new login is required since the authentication session expired.') ]),
			E('div', { 'class': 'right' }, E('button', { 'class': 'btn primary' }, [ _('Log in…') ]))
		]));
	}

	const rpc = {
		declare({ object, method, params = [], expect, reject }) {
			return (...values) => {
				const args = {};

				params.forEach((name, at) => { if (values[at] !== undefined) args[name] = values[at] });

				return fetch('%s/admin/ubus/%s.%s'.format(window.L.env.scriptname, object, method), {
					method: 'POST',
					body: JSON.stringify({ jsonrpc: '2.0', id: requestId++, method: 'call', params: [ window.L.env.sessionid, object, method, args ] })
				}).then(response => {
					if (!response.ok)
						throw new Error('RPC call to %s/%s failed with HTTP error %d: %s'.format(object, method, response.status, response.statusText));

					return response.json();
				}).then(message => {
					if (message.error) {
						if (message.error.code === -32002)
							displayExpired();

						throw new Error('RPC call to %s/%s failed with error %d: %s'.format(object, method, message.error.code, message.error.message));
					}

					const [ code, data ] = message.result;

					if (reject && code !== 0)
						throw new Error('RPC call to %s/%s failed with ubus code %d: ?'.format(object, method, code));

					const key = expect ? Object.keys(expect)[0] : null;
					let value = message.result.length > 1 ? data : code;

					if (key !== null) {
						value = key !== '' && value !== null ? value[key] : value;

						if (value === null || value === undefined || Object.prototype.toString.call(value) !== Object.prototype.toString.call(expect[key]))
							value = expect[key];
					}

					return value;
				});
			};
		}
	};

	/* A view puts itself into the page, with LuCI's three buttons unless it has none. */
	const View = Base.extend({
		__init__() {
			const place = document.getElementById('view');

			Promise.resolve().then(() => this.load()).then(data => this.render(data)).then(nodes => {
				dom.content(place, nodes);
				dom.append(place, this.addFooter());
			}).catch(error => {
				console.error(error);
				dom.content(place, E('div', { 'class': 'alert-message error' }, [ String(error) ]));
			});
		},

		load() {},

		handle(method, ev) {
			const maps = [ ...document.querySelectorAll('#maincontent .cbi-map') ];

			return Promise.all(maps.map(node => dom.findClassInstance(node)[method]()));
		},

		handleSave(ev) { return this.handle('save', ev) },
		handleReset(ev) { return this.handle('reset', ev) },
		handleSaveApply(ev) {
			return this.handleSave(ev).then(() => window.L.require('ui')).then(ui => ui.changes.apply());
		},

		addFooter() {
			const button = (method, style, title) => this[method] ? [ E('button', {
				'class': 'btn cbi-button ' + style,
				'click': ev => Promise.resolve(this[method](ev)).catch(() => {})
			}, [ title ]), ' ' ] : [];
			const buttons = [].concat(button('handleSaveApply', 'cbi-button-apply important', _('Save & Apply')),
				button('handleSave', 'cbi-button-save', _('Save')), button('handleReset', 'cbi-button-reset', _('Reset')));

			return buttons.length ? E('div', { 'class': 'cbi-page-actions' }, buttons) : E([]);
		}
	});

	const modules = { baseclass: Base, view: View, dom, poll, rpc };
	const REQUIRE = /^'require (\S+)(?: as (\w+))?';$/gm;

	window.LuCI = class {
		constructor(env) {
			this.env = env;
		}

		/* A module: its source with what it requires as arguments, instantiated once. */
		require(name) {
			if (!modules[name])
				modules[name] = fetch('%s/%s.js'.format(this.env.resource, name.replace(/\./g, '/'))).then(response => {
					if (!response.ok)
						throw new Error('HTTP error %d while loading class file "%s"'.format(response.status, name));

					return response.text();
				}).then(source => {
					const needs = [ ...source.matchAll(REQUIRE) ];

					return Promise.all(needs.map(need => this.require(need[1]))).then(found => {
						const factory = new Function('L', ...needs.map(need => need[2] || need[1].replace(/\W/g, '_')),
							'%s\n//# sourceURL=%s.js'.format(source, name));
						const Class = factory(this, ...found);

						return Class.prototype instanceof Base ? new Class() : Class;
					});
				});

			return Promise.resolve(modules[name]);
		}

		url(...parts) { return [ this.env.scriptname, ...parts ].join('/') }
		resource(...parts) { return [ this.env.resource, ...parts ].join('/') }
		isObject(value) { return value !== null && typeof value === 'object' }
		bind(fn, self, ...args) { return fn.bind(self, ...args) }
		resolveDefault(value, fallback) { return Promise.resolve(value).catch(() => fallback) }
		hasViewPermission() { return !this.env.nodespec.readonly }
		toArray(value) {
			if (value === null || value === undefined)
				return [];

			return Array.isArray(value) ? value : String(value).trim().split(/\s+/).filter(word => word !== '');
		}
	};
})();
